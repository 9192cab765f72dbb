"""A network with its data contract: uint8 pixels in, logits or probabilities out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from threeages.labels import YEARS
from threeages.models.heads import DEFAULT_HEADS, MAIN, HeadSpec
from threeages.models.network import Network
from threeages.models.registry import SIGNATURES, build_network
from threeages.signature import Signature

__all__ = ["SIGNATURES", "Architecture", "Classifier", "create_classifier"]


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint keeps beside the signature to build the network again."""

    heads: Sequence[HeadSpec] = DEFAULT_HEADS
    options: dict[str, Any] = field(default_factory=dict)


class Classifier(nn.Module):
    """uint8 RGB `(n, size, size, 3)` to logits by task, normalised as its signature says.

    Training, evaluation and the exported file all go through this one forward.
    """

    mean: Tensor
    std: Tensor
    net: Network

    def __init__(self, net: Network, signature: Signature, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.net = net
        self.signature = signature
        self.architecture = architecture or Architecture()
        self.register_buffer("mean", torch.tensor(signature.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(signature.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> dict[str, Tensor]:
        """Logits `(n, k)` by task, before the temperature.

        `x` are uint8 pixels `(n, size, size, 3)`, or where `start` is not 0 the float input of that stage.
        """
        found: dict[str, Tensor] = self.net(x, start) if start else self.net(self.normalize(x))
        return found

    def normalize(self, pixels: Tensor) -> Tensor:
        """uint8 RGB `(n, size, size, 3)` to float `(n, 3, size, size)`, mean and scale applied."""
        x = pixels.permute(0, 3, 1, 2).float()  # of NHWC memory this is a channels-last tensor at no cost
        if self.signature.mean != (0.0, 0.0, 0.0):
            x = x - self.mean
        return x if self.signature.std == (1.0, 1.0, 1.0) else x / self.std

    def answers(self, pixels: Tensor) -> dict[str, Tensor]:
        """`probs` `(n, 3)` and, where the model has that head, `years` `(n, 101)`, in one pass."""
        return self.to_answers(self(pixels))

    def to_answers(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Probabilities of logits by task; the signature's temperature calibrates the age groups."""
        found = {"probs": self.net.head.probs(logits[MAIN].float(), self.signature.temperature)}
        if YEARS in logits:
            found[YEARS] = self.net.heads[YEARS].probs(logits[YEARS].float())
        return found

    def probs(self, pixels: Tensor) -> Tensor:
        """Probabilities `(n, 3)`, calibrated by the signature's temperature."""
        return self.answers(pixels)["probs"]

    def years(self, pixels: Tensor) -> Tensor:
        """Distribution `(n, 101)` over the apparent age; KeyError for a model without that head."""
        return self.answers(pixels)[YEARS]


def create_classifier(signature: Signature, architecture: Architecture | None = None) -> Classifier:
    """A model with fresh weights by its signature's name; raises ConfigError for an unknown name."""
    architecture = architecture or Architecture()
    net = build_network(signature, architecture.heads, architecture.options)
    model = Classifier(net, signature, architecture)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
