"""The degradations of data.degradation as torch operations on a batch: the same draws, on any device.

An image differs from what `apply_degradation` makes of it by rounding: OpenCV computes with fixed points, and
a number that lies between two steps of JPEG may take the other one.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from threeages.data.degradation import Degradation
from threeages.training.device_jpeg import lose_as_jpeg
from threeages.training.device_rows import send

T = TypeVar("T")
RADIUS_SIGMAS = 3  # where the kernel of OpenCV's blur of bytes ends


def degrade_batch(images: Tensor, drawn: Sequence[Degradation | None]) -> Tensor:
    """Images float `(b, 3, side, side)`, whole numbers 0 to 255, degraded in place, each as drawn."""
    known = [image or Degradation() for image in drawn]
    _change(images, [(d.side, d.enlarging) if d.side else None for d in known], _resize_and_back)
    _change(images, [d.sigma for d in known], _blur)
    _change(images, [d.quality for d in known], _compress)
    return _change_colors(images, known)


def _change(
    images: Tensor, values: Sequence[T | None], operation: Callable[[Tensor, list[T]], Tensor]
) -> None:
    """Replace the images that have a value by what an operation makes of both."""
    given = {row: value for row, value in enumerate(values) if value is not None}
    if given:
        places = send(np.array(list(given)), images.device)
        images[places] = operation(images[places], list(given.values()))


def _resize_and_back(images: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Both steps are products with OpenCV's own weights, one matrix for the rows and columns of an image."""
    side, least = images.shape[2], max(small for small, _ in sizes)
    shrink = np.zeros((len(sizes), 1, least, side), dtype=np.float32)
    enlarge = np.zeros((len(sizes), 1, side, least), dtype=np.float32)
    for i, (small, method) in enumerate(sizes):
        shrink[i, 0, :small] = _resize_weights(
            side, small, cv2.INTER_AREA if small < side else cv2.INTER_LINEAR
        )
        enlarge[i, 0, :, :small] = _resize_weights(small, side, method)
    down, up = send(shrink, images.device), send(enlarge, images.device)
    small_images = _to_bytes(down @ images @ down.transpose(2, 3))
    return _to_bytes(up @ small_images @ up.transpose(2, 3))


@lru_cache(maxsize=512)
def _resize_weights(before: int, after: int, method: int) -> NDArray[np.float32]:
    """What each of `after` pixels takes of `before`, as OpenCV resizes: the columns of an identity matrix."""
    identity = np.eye(before, dtype=np.float32)
    return np.asarray(cv2.resize(identity, (before, after), interpolation=method), dtype=np.float32)


def _blur(images: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Each image with OpenCV's Gaussian kernel of its sigma, along columns and rows."""
    widths = [round(2 * RADIUS_SIGMAS * sigma + 1) | 1 for sigma in sigmas]
    radius = max(widths) // 2
    kernels = np.zeros((len(sigmas), 2 * radius + 1), dtype=np.float32)
    for kernel, width, sigma in zip(kernels, widths, sigmas, strict=True):
        kernel[radius - width // 2 : radius + width // 2 + 1] = cv2.getGaussianKernel(width, sigma)[:, 0]
    weights = send(kernels, images.device).repeat_interleave(3, dim=0)[:, None, None]
    planes = F.pad(images, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    planes = F.conv2d(planes, weights, groups=len(weights))
    planes = F.conv2d(planes, weights.transpose(2, 3), groups=len(weights))
    return _to_bytes(planes.view_as(images))


def _compress(images: Tensor, qualities: Sequence[int]) -> Tensor:
    return lose_as_jpeg(images, send(np.array(qualities), images.device))


def _change_colors(images: Tensor, drawn: Sequence[Degradation]) -> Tensor:
    grey = send(np.array([d.grey for d in drawn]), images.device)[:, None, None, None]
    gains = np.array([np.ones(3) if d.gain is None else d.gain for d in drawn], dtype=np.float32)
    gain = send(gains, images.device)[:, :, None, None]
    lights = np.array([d.light or (1.0, 0.0) for d in drawn], dtype=np.float32)
    contrast, brightness = send(lights, images.device)[:, :, None, None, None].unbind(1)
    images = torch.where(grey, images.mean(dim=1, keepdim=True), images) * gain
    images = (images - 128) * contrast + 128 + brightness
    return torch.floor(images.clamp(0, 255))


def _to_bytes(images: Tensor) -> Tensor:
    return torch.round(images).clamp(0, 255)
