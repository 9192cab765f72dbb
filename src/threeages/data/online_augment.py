"""Augmentation while training: worker processes augment the next batches while the model trains on one."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.augment import Drawn, apply_drawn, draw_image
from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.data.split import Rows
from threeages.faces.images import Pixels
from threeages.processes import start_processes

WORKERS = 4  # one image takes a processor 1 ms; a GPU trains on 5,000 of them in a second
IDENTITY_TRANSFORM = np.eye(2, 3, dtype=np.float32)


@dataclass(frozen=True)
class AugmentedBatch:
    """uint8 `pixels` `(b, size, size, 3)`; which of them are crops `(b,)`, the others being whole images;
    and the `transforms` `(b, 2, 3)` of the crops (data.augment.random_affine)."""

    pixels: Pixels
    is_crop: NDArray[np.bool_]
    transforms: NDArray[np.float32]


@dataclass(frozen=True)
class OnlineAugmenter:
    """Files of uint8 `(n, size, size, 3)`, the crops as in use and the whole images, and how to augment."""

    crops: Path
    wholes: Path
    augmentation: Augmentation = DEFAULT_AUGMENTATION

    def augment_batches(
        self, pool: Executor, batches: Iterable[Rows], seed: tuple[int, ...], first: int = 0
    ) -> Iterator[AugmentedBatch]:
        """The batches augmented by the pool's processes, in order, a few of them ahead.

        The same seed gives the same pixels, however many processes there are; `first` is the number of the
        first batch among those of the seed.
        """
        waiting: deque[Future[AugmentedBatch]] = deque()
        for number, rows in enumerate(batches, first):
            waiting.append(pool.submit(self.augment_batch, rows, (*seed, number)))
            if len(waiting) > 2 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def augment_batch(self, rows: Rows, seed: tuple[int, ...]) -> AugmentedBatch:
        """The rows, each as an augmented crop or, with its probability, as an augmented whole image."""
        crops, wholes = (np.load(file, mmap_mode="r") for file in (self.crops, self.wholes))
        drawn = self.draw_batch(rows, seed)
        is_crop, transforms = describe_batch(drawn)
        pixels = np.empty((len(rows), *crops.shape[1:]), dtype=np.uint8)
        for i, (row, image) in enumerate(zip(rows, drawn, strict=True)):
            pixels[i] = apply_drawn(crops[row] if is_crop[i] else wholes[row], image)
        return AugmentedBatch(pixels, is_crop, transforms)

    def draw_batch(self, rows: Rows, seed: tuple[int, ...]) -> list[Drawn]:
        """What happens to each of the rows."""
        rng = np.random.default_rng(seed)
        return [draw_image(self.augmentation, rng) for _ in rows]


def describe_batch(drawn: Sequence[Drawn]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which images are crops `(b,)`, and their `transforms` `(b, 2, 3)`, as `AugmentedBatch` has them."""
    is_crop = np.array([image.transform is not None for image in drawn], dtype=np.bool_)
    transforms = np.tile(IDENTITY_TRANSFORM, (len(drawn), 1, 1))
    for i in np.flatnonzero(is_crop).tolist():
        transforms[i] = drawn[i].transform
    return is_crop, transforms


def create_pool() -> AbstractContextManager[Executor]:
    """Processes for `OnlineAugmenter.augment_batches`."""
    return start_processes(min(WORKERS, os.cpu_count() or 1), __name__)
