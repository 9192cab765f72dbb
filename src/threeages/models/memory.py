"""A model that remembers: features of a face against those of every face it was given, by a kernel."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.mobilenet_v1 import mobilenet_layers
from threeages.models.network import Backbone, Network

TAPS = (2, 12, 22, 32, 62, 67)  # layers whose means are taken: early ones tell films apart, late ones faces
NUM_FEATURES = 32 + 128 + 256 + 512 + 1024 + 1024
WIDTH = 0.02  # of the kernel, in cosine; 0.01 and 0.03 score within 0.3 points
LEAST = 1e-6  # probability of a group that no face alike belongs to


class Memory(Network):
    """float `(n, 3, size, size)` RGB minus a grey of 114 to the log of the remembered groups' shares.

    For `rows` remembered faces in `dimensions`; both are filled by `training.recall`. The head passes the
    shares on as they are.
    """

    def __init__(
        self, heads: Sequence[HeadSpec] = DEFAULT_HEADS, *, rows: int = 1, dimensions: int = 1
    ) -> None:
        groups = len(heads[0].classes)
        recall = Recall(rows, dimensions, groups)
        super().__init__(Backbone(nn.Sequential(_Taps()), nn.Identity(), groups, recall), heads)
        head = cast(nn.Linear, self.head)
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)


class _Taps(nn.Sequential):
    """`(n, 3, size, size)` to the mean of several layers' maps, `(n, 2, features)`: as it is and mirrored."""

    def __init__(self) -> None:
        super().__init__(*mobilenet_layers())

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self._means(x), self._means(x.flip(3))], dim=1)

    def _means(self, x: Tensor) -> Tensor:
        means = []
        for i, layer in enumerate(self):
            x = layer(x)
            if i in TAPS:
                means.append(x.mean((2, 3)))
        return torch.cat(means, dim=1)


class Recall(nn.Module):
    """Features `(n, 2, f)` to the log of each group's share among the faces remembered, `(n, groups)`.

    A softmax over the cosines to all of them weighs the faces (a Nadaraya-Watson kernel).
    """

    center: Tensor
    projection: Tensor
    keys: Tensor
    groups: Tensor

    def __init__(self, rows: int, dimensions: int, groups: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(NUM_FEATURES))
        self.register_buffer("projection", torch.zeros(NUM_FEATURES, dimensions))
        self.register_buffer("keys", torch.zeros(rows, dimensions))
        self.register_buffer("groups", torch.zeros(rows, groups))

    def forward(self, features: Tensor) -> Tensor:
        """Mean features of an image and its mirror image to log shares."""
        weights = torch.softmax(self.embed(features) @ self.keys.T / WIDTH, dim=1)
        return (weights @ self.groups + LEAST).log()

    def embed(self, features: Tensor) -> Tensor:
        """Unit vectors `(n, dimensions)`; an image and its mirror image have the same."""
        sides = F.normalize((features.float() - self.center) @ self.projection, dim=2)
        return F.normalize(sides.mean(1), dim=1)
