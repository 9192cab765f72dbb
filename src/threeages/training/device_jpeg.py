"""JPEG's losses as torch operations: what encoding and decoding again leaves of a batch of images.

Colours at half the size, 8x8 blocks of a cosine transform, rounding to a table's steps: the baseline of ITU-T
T.81 with the example tables of its annex K, as libjpeg scales them by a quality. Only the entropy coding is
left out, which loses nothing.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK for _ in range(4)),
)
# of red, green, blue (JFIF)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
FROM_YCC = ((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0))


def lose_as_jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Images float `(b, 3, h, w)`, whole numbers 0 to 255, as JPEG of a `quality` `(b,)` leaves them.

    Qualities are from 1 to 100; the channels are in the order blue, green, red, as OpenCV encodes them.
    """
    height, width = images.shape[2:]
    grown = F.pad(images, (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK)), mode="replicate")
    middle = torch.tensor((0, 128, 128), device=images.device)[:, None, None]  # of brightness and colours
    ycc = torch.round(_mix(grown.flip(1), TO_YCC)) + middle
    luma = _round_blocks(ycc[:, :1], _scale_table(LUMA, quality))
    colors = _round_blocks(_halve(ycc[:, 1:]), _scale_table(CHROMA, quality))
    found = _mix(torch.cat([luma, _double(colors)], dim=1) - middle, FROM_YCC)
    return torch.round(found).clamp(0, 255).flip(1)[:, :, :height, :width]


def _mix(images: Tensor, weights: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", torch.tensor(weights, device=images.device), images)


def _scale_table(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Steps `(b, 1, 1, 1, 8, 8)` of each image's quality."""
    quality = quality.float()[:, None, None]
    percent = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    steps = torch.floor((torch.tensor(table, device=quality.device) * percent + 50) / 100)
    return steps.clamp(1, 255)[:, None, None, None]


def _round_blocks(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes `(b, c, h, w)` from 0 to 255, each block rounded to steps in its transform."""
    b, c, height, width = planes.shape
    cosine = _cosine_transform(planes.device)
    blocks = planes.view(b, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4) - 128
    rounded = torch.round(cosine @ blocks @ cosine.T / steps) * steps
    found = torch.round(cosine.T @ rounded @ cosine) + 128
    return found.clamp(0, 255).transpose(3, 4).reshape(b, c, height, width)


def _cosine_transform(device: torch.device) -> Tensor:
    """The orthonormal matrix `(8, 8)` of the discrete cosine transform."""
    k = torch.arange(BLOCK, device=device)
    waves = torch.cos((2 * k + 1) * k[:, None] * math.pi / (2 * BLOCK)) / 2
    waves[0] /= math.sqrt(2)
    return waves


def _halve(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels, whose halves are rounded up and down in turn along a row, as libjpeg does."""
    bias = 1 + torch.arange(planes.shape[3] // 2, device=planes.device) % 2
    return torch.floor((F.avg_pool2d(planes, 2) * 4 + bias) / 4)


def _double(planes: Tensor) -> Tensor:
    """Twice the size: three quarters of the nearest pixel and a quarter of the next, along both sides."""
    height, width = planes.shape[2:]
    grown = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    rows = torch.stack([3 * grown[:, :, 1:-1] + grown[:, :, :-2], 3 * grown[:, :, 1:-1] + grown[:, :, 2:]], 3)
    rows = rows.flatten(2, 3)
    left = 3 * rows[..., 1:-1] + rows[..., :-2] + 8
    right = 3 * rows[..., 1:-1] + rows[..., 2:] + 7
    return torch.floor(torch.stack([left, right], 4).reshape(*planes.shape[:2], 2 * height, 2 * width) / 16)
