"""Views of faces drawn anew for every epoch, by processes of their own, ahead of who learns from them."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.augment import redraw, vary
from threeages.data.mixup import Mixture
from threeages.data.processes import start_processes
from threeages.faces.images import Pixels

WORKERS = 4  # a view takes a processor 1 ms; a GPU learns from 5,000 of them in a second
WHOLE_SHARE = 0.25  # of the views of one face: the image as it is taken without a detector
NOWHERE = np.full((2, 3), np.nan, dtype=np.float32)

Moves = NDArray[np.float32]


@dataclass(frozen=True)
class Drawing:
    """Files of uint8 `(n, size, size, 3)`: every face cut as in use, and the whole image it is in."""

    cuts: Path
    wholes: Path

    def draw(
        self, pool: Executor, order: Iterable[Mixture], seed: tuple[int, ...]
    ) -> Iterator[tuple[Pixels, Moves]]:
        """A view of each face of every batch, uint8 `(b, size, size, 3)`, and its move `(b, 2, 3)`.

        A move (data.views.redraw) is nan of a whole image. The same seed draws the same views, however many
        processes draw.
        """
        waiting: deque[Future[tuple[Pixels, Moves]]] = deque()
        for number, faces in enumerate(order):
            waiting.append(pool.submit(self.draw_batch, faces, (*seed, number)))
            if len(waiting) > 2 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def draw_batch(self, faces: Mixture, seed: tuple[int, ...]) -> tuple[Pixels, Moves]:
        """Views and moves of one batch."""
        cuts, wholes = (np.load(file, mmap_mode="r") for file in (self.cuts, self.wholes))
        rng = np.random.default_rng(seed)
        shown = cuts[faces.rows]
        shown[faces.mixed] = faces.blend(cuts, faces.mixed)
        moves = np.empty((len(shown), *NOWHERE.shape), dtype=np.float32)
        for i, row in enumerate(faces.rows):
            if faces.shares[i] == 1 and rng.random() < WHOLE_SHARE:
                shown[i], moves[i] = vary(wholes[row], rng), NOWHERE
            else:
                shown[i], moves[i] = redraw(shown[i], rng)
        return shown, moves


def create_pool() -> Executor:
    """Processes that draw."""
    return start_processes(min(WORKERS, os.cpu_count() or 1), __name__)
