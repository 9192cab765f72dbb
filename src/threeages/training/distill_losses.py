"""What a student learns from its teachers' features: of the whole face, or of every patch of it."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.data.split import Rows
from threeages.models.vit import pool_tokens

SMALL = 1e-3  # keeps features that are never on from dividing by zero
SAMPLE = 1000  # faces that the spread of tokens is taken from: all would need their memory at once
WHOLE_WEIGHT = 2.0  # of the loss of the whole against that of the patches

Features = NDArray[np.floating]


class FeatureLesson(nn.Module):
    """The student's own kind of features, float `(n, f)`: smooth L1 in standard deviations of each.

    Deviations are those of the rows learnt from. Called with the student's last maps `(b, f, h, w)`, the
    features wanted `(b, f)`, and the moves of the views (data.views.redraw), which features of the whole
    face do not heed.
    """

    spread: Tensor

    def __init__(self, features: Features, learnt: Rows) -> None:
        super().__init__()
        known = np.asarray(features[learnt], dtype=np.float32)
        self.register_buffer("spread", torch.from_numpy(known.std(axis=0)) + SMALL)

    def forward(self, maps: Tensor, wanted: Tensor, moves: Tensor) -> Tensor:
        """The loss."""
        return F.smooth_l1_loss(maps.mean(dim=(2, 3)) / self.spread, wanted / self.spread)


class TokenLesson(nn.Module):
    """A transformer's tokens, `(n, 1 + p * p, t)` of every face: a class token, then patches in rows.

    A linear layer on each place of the student's maps learns the patches that lie there, moved as the view
    is; another on their mean learns the class token beside the patches' mean. Mean squared errors in
    standard deviations of the rows learnt from. A view whose move is not a number shows another cut: the
    whole is all it learns.
    """

    mean: Tensor
    std: Tensor
    whole_mean: Tensor
    whole_std: Tensor

    def __init__(self, tokens: Features, learnt: Rows, channels: int) -> None:
        super().__init__()
        sample = np.asarray(tokens[learnt[:: -(-len(learnt) // SAMPLE)]], dtype=np.float32)
        width, whole = sample.shape[2], pool_tokens(torch.from_numpy(sample)).numpy()
        for name, values in (("", sample[:, 1:].reshape(-1, width)), ("whole_", whole)):
            self.register_buffer(f"{name}mean", torch.from_numpy(values.mean(axis=0)))
            self.register_buffer(f"{name}std", torch.from_numpy(values.std(axis=0)) + SMALL)
        self.on_patches = nn.Conv2d(channels, width, 1)
        self.on_whole = nn.Linear(channels, whole.shape[1])

    def forward(self, maps: Tensor, tokens: Tensor, moves: Tensor) -> Tensor:
        """The loss, of maps `(b, channels, h, w)` against the tokens wanted."""
        whole = (pool_tokens(tokens) - self.whole_mean) / self.whole_std
        loss = WHOLE_WEIGHT * F.mse_loss(self.on_whole(maps.mean(dim=(2, 3))), whole)
        moved = ~moves.isnan().any(dim=(1, 2))
        if moved.any():
            patches = (tokens[moved, 1:] - self.mean) / self.std
            wanted = _move(patches, moves[moved], maps.shape[-1])
            loss = loss + F.mse_loss(self.on_patches(maps[moved]), wanted)
        return loss


def _move(patches: Tensor, moves: Tensor, side: int) -> Tensor:
    """Patches `(b, p * p, t)` as views so moved show them, drawn together to `(b, t, side, side)`."""
    grid = math.isqrt(patches.shape[1])
    places = patches.transpose(1, 2).reshape(len(patches), -1, grid, grid)
    where = F.affine_grid(moves, list(places.shape), align_corners=False)
    seen = F.grid_sample(places, where, padding_mode="border", align_corners=False)
    return F.adaptive_avg_pool2d(seen, side)
