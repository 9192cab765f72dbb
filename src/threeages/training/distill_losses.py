"""Losses of feature distillation: a student predicts a teacher's features of the whole face or of patches.

Romero et al. (2015), FitNets: Hints for Thin Deep Nets. Features are compared in standard deviations of the
training rows, so that large ones do not outweigh the others.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.data.split import Rows
from threeages.models.vit import pool_tokens

EPSILON = 1e-3  # keeps features that never change from a division by zero
SAMPLE = 1000  # faces whose tokens the deviations are taken of: all would need their memory at once
POOLED_WEIGHT = 2.0  # of the pooled tokens' loss beside that of the patches

Features = NDArray[np.floating]


class FeatureLoss(nn.Module):
    """Smooth L1 between features `(b, f)` of one kind: a student's and its teacher's, of one architecture."""

    std: Tensor

    def __init__(self, features: Features, train: Rows) -> None:
        super().__init__()
        std = np.asarray(features[train], dtype=np.float32).std(axis=0)
        self.register_buffer("std", torch.from_numpy(std) + EPSILON)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over features and faces."""
        return F.smooth_l1_loss(student / self.std, teacher / self.std)


class ProjectionLoss(nn.Module):
    """Mean squared error of a linear prediction of a teacher's features `(b, t)` from a student's `(b, f)`.

    In standard deviations of `features` `(n, t)`: predicting their mean costs 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_features: int, features: Features) -> None:
        super().__init__()
        known = np.asarray(features, dtype=np.float32)
        self.register_buffer("mean", torch.from_numpy(known.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(known.std(axis=0)) + EPSILON)
        self.projection = nn.Linear(num_features, known.shape[1])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of a batch, from both networks' features."""
        return self.compare(self.projection(student), teacher)

    def compare(self, predicted: Tensor, teacher: Tensor) -> Tensor:
        """The loss of a batch, from what `projection` predicted."""
        return F.mse_loss(predicted, (teacher - self.mean) / self.std)


class TokenLoss(nn.Module):
    """Prediction of a transformer's tokens `(b, 1 + p * p, t)`, class token and patches, from feature maps.

    A linear layer on each position of the student's maps `(b, c, h, w)` predicts the patches that lie there;
    another on their mean predicts the pooled tokens. An augmented crop's patches are moved by its transform;
    of a whole image only the pooled tokens are compared, since the teacher saw the crop.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, tokens: Features, train: Rows) -> None:
        super().__init__()
        sample = np.asarray(tokens[train[:: -(-len(train) // SAMPLE)]], dtype=np.float32)
        width = sample.shape[2]
        patches = sample[:, 1:].reshape(-1, width)
        self.register_buffer("mean", torch.from_numpy(patches.mean(axis=0)))
        self.register_buffer("std", torch.from_numpy(patches.std(axis=0)) + EPSILON)
        self.on_patches = nn.Conv2d(channels, width, 1)
        self.pooled = ProjectionLoss(channels, pool_tokens(torch.from_numpy(sample)).numpy())

    def forward(self, maps: Tensor, tokens: Tensor, is_crop: Tensor, transforms: Tensor) -> Tensor:
        """The loss; which images are crops `(b,)`, and their `transforms` `(b, 2, 3)` (random_affine)."""
        loss: Tensor = POOLED_WEIGHT * self.pooled(maps.mean(dim=(2, 3)), pool_tokens(tokens))
        if is_crop.any():
            patches = (tokens[is_crop, 1:] - self.mean) / self.std
            moved = _transform_patches(patches, transforms[is_crop], maps.shape[-1])
            loss = loss + F.mse_loss(self.on_patches(maps[is_crop]), moved)
        return loss


def _transform_patches(patches: Tensor, transforms: Tensor, side: int) -> Tensor:
    """Patches `(b, p * p, t)` as the transformed crops show them, averaged to `(b, t, side, side)`."""
    grid = math.isqrt(patches.shape[1])
    maps = patches.transpose(1, 2).reshape(len(patches), -1, grid, grid)
    positions = F.affine_grid(transforms, list(maps.shape), align_corners=False)
    moved = F.grid_sample(maps, positions, padding_mode="border", align_corners=False)
    return F.adaptive_avg_pool2d(moved, side)
