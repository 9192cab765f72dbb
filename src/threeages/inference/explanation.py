"""What an explanation of one face holds, and how a model is asked for many copies of a crop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels
from threeages.inference.classify import BATCH

Predict: TypeAlias = Callable[[Pixels], NDArray[np.float32]]
"""Probabilities `(n, 3)` of the age groups for face crops, uint8 RGB `(n, size, size, 3)`."""


@dataclass(frozen=True)
class FaceMap:
    """How much each part of a face crop counts for one answer.

    `group` is the index of the age group, `prob` its probability for the whole crop, and `values` float64
    `(rows, columns)`, not negative: a higher value says that the answer rests on that part. The unit of the
    values depends on the method; only an occlusion map's can be compared between faces.
    """

    group: int
    prob: float
    values: NDArray[np.float64]


MapMethod: TypeAlias = Callable[[Pixels], FaceMap]
"""Makes the map of one crop, uint8 RGB `(size, size, 3)`, for its most probable age group."""


def find_answer(predict: Predict, pixels: Pixels) -> tuple[int, float]:
    """The index of the most probable age group of one crop, and its probability."""
    probs = predict(pixels[None])[0]
    group = int(probs.argmax())
    return group, float(probs[group])


def run_in_batches(predict: Predict, copies: Sequence[Pixels]) -> NDArray[np.float64]:
    """Probabilities `(n, 3)` of copies of a crop, asked for in batches as a predictor runs them."""
    parts = [predict(np.stack(copies[i : i + BATCH])) for i in range(0, len(copies), BATCH)]
    return np.concatenate(parts).astype(np.float64)
