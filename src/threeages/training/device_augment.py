"""Augmentation while training on the device that trains: what data.online_augment does in processes.

Both draw the same for the same seed; what is made of it here differs by rounding (training.device_degrade).
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from threeages.data.augment import Drawn
from threeages.data.online_augment import AugmentedBatch, OnlineAugmenter, describe_batch
from threeages.data.split import Rows
from threeages.training.device_degrade import degrade_batch
from threeages.training.device_rows import DeviceRows, keep_rows, mirror_images, read_rows, send


@dataclass(frozen=True)
class DeviceBatch:
    """An AugmentedBatch on the device that trains."""

    pixels: Tensor
    is_crop: Tensor
    transforms: Tensor


def augments(device: torch.device) -> bool:
    """Whether a device augments faster than the processes beside it: a GPU does."""
    return device.type == "cuda"


def send_batch(batch: AugmentedBatch, device: torch.device) -> DeviceBatch:
    """A batch that processes have augmented, on a device."""
    return DeviceBatch(*(send(part, device) for part in (batch.pixels, batch.is_crop, batch.transforms)))


@dataclass(frozen=True)
class DeviceAugmenter:
    """Images uint8 `(n, size, size, 3)`, as crops and as wholes, and those of them that the device keeps."""

    augmenter: OnlineAugmenter
    crops: NDArray[np.uint8]
    wholes: NDArray[np.uint8]
    kept: tuple[DeviceRows | None, DeviceRows | None]
    device: torch.device

    def augment_batches(
        self, pool: Executor, batches: Iterable[Rows], seed: tuple[int, ...], first: int = 0
    ) -> Iterator[DeviceBatch]:
        """As `OnlineAugmenter.augment_batches`; the pool draws for a batch while the one before it trains."""
        waiting: tuple[Rows, Future[list[Drawn]]] | None = None
        for number, rows in enumerate(batches, first):
            ready, waiting = waiting, (rows, pool.submit(self.augmenter.draw_batch, rows, (*seed, number)))
            if ready:
                yield self.augment_batch(ready[0], ready[1].result())
        if waiting:
            yield self.augment_batch(waiting[0], waiting[1].result())

    def augment_batch(self, rows: Rows, drawn: Sequence[Drawn]) -> DeviceBatch:
        """The rows, each as an augmented crop or whole image, as drawn."""
        is_crop, transforms = describe_batch(drawn)
        on_device = send(transforms, self.device)
        images = torch.empty((len(rows), 3, *self.crops.shape[1:3]), device=self.device)
        for chosen, values, kept in zip(
            (is_crop, ~is_crop), (self.crops, self.wholes), self.kept, strict=True
        ):
            if chosen.any():
                pixels = read_rows(values, kept, rows[chosen], self.device)
                images[send(np.flatnonzero(chosen), self.device)] = pixels.permute(0, 3, 1, 2).float()
        crops = send(np.flatnonzero(is_crop), self.device)
        images[crops] = apply_affine_batch(images[crops], on_device[crops])
        images = degrade_batch(images, [image.degradation for image in drawn])
        pixels = images.permute(0, 2, 3, 1).to(torch.uint8).contiguous()
        pixels = mirror_images(pixels, np.array([image.mirror for image in drawn]))
        return DeviceBatch(pixels, send(is_crop, self.device), on_device)


def apply_affine_batch(images: Tensor, transforms: Tensor) -> Tensor:
    """Images float `(b, 3, side, side)`, each moved as by `data.augment.apply_affine`, in whole numbers."""
    if not len(images):
        return images
    grid = F.affine_grid(transforms, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return torch.round(moved)


def open_device_augmenter(augmenter: OnlineAugmenter, rows: Rows, device: torch.device) -> DeviceAugmenter:
    """The augmenter on a device, which keeps the rows of both kinds of images where they fit."""
    crops, wholes = (np.load(file, mmap_mode="r") for file in (augmenter.crops, augmenter.wholes))
    kept = keep_rows(crops, rows, device), keep_rows(wholes, rows, device)
    return DeviceAugmenter(augmenter, crops, wholes, kept, device)


@contextmanager
def create_drawing_thread() -> Iterator[Executor]:
    """The pool for `DeviceAugmenter.augment_batches`."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
