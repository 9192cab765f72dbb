"""A network with its data contract: uint8 pixels in, logits or probabilities out."""

import torch
from torch import Tensor, nn

from threeages.errors import ConfigError
from threeages.models.cnn import cnn
from threeages.models.mobilenet_v1 import MobileNetV1
from threeages.signature import Signature


class Classifier(nn.Module):
    """uint8 RGB `(n, size, size, 3)` to logits `(n, 3)`, normalised as its signature says.

    Training, judging and the exported file all pass through this one forward.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.net = net
        self.signature = signature
        self.register_buffer("mean", torch.tensor(signature.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(signature.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, before the temperature."""
        x = pixels.permute(0, 3, 1, 2).float()  # of NHWC memory this is a channels-last tensor at no cost
        if self.signature.color == "BGR":
            x = x.flip(1)
        logits: Tensor = self.net((x - self.mean) / self.std)
        return logits

    def probs(self, pixels: Tensor) -> Tensor:
        """Probabilities `(n, 3)`, calibrated by the signature's temperature."""
        return torch.softmax(self(pixels) / self.signature.temperature, dim=1)


# each model's own preprocessing: the reference study got it wrong for two of its backbones
SIGNATURES = {
    "cnn": Signature("cnn", 128),
    "mobilenet_v1_face": Signature(
        "mobilenet_v1_face",
        224,
        color="BGR",
        mean=(103.939, 116.779, 123.68),
        std=(1.0, 1.0, 1.0),
        margin=0.03,
    ),
}


def create_classifier(signature: Signature) -> Classifier:
    """A model with fresh weights by its signature's name; raises ConfigError for an unknown name."""
    if signature.name == "cnn":
        net: nn.Module = cnn(signature.input_size)
    elif signature.name == "mobilenet_v1_face":
        net = MobileNetV1(num_classes=len(signature.class_names))
    else:
        raise ConfigError(f"There is no model '{signature.name}'.", hint=f"Allowed: {', '.join(SIGNATURES)}.")
    return Classifier(net, signature).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
