"""Deletion and insertion curves: what a map of a face is worth, as a number.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models" (2018). Where
the parts that a map ranks first are taken away, the probability falls early if the map is right; where they
are put back first, it rises early.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels
from threeages.inference.explanation import FaceMap, Predict, run_in_batches

STEPS = 16  # points of a curve after the first
RANDOM_MAPS = 4  # whose mean a map is compared to
BLUR = 0.1  # standard deviation of the blur that insertion starts from, as a share of the crop's side
DELETION, INSERTION = "deletion", "insertion"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Faithfulness:
    """Areas under the curves of one map, from 0 to 1, beside the mean areas of random maps of its size.

    A good map has a `deletion` below `random_deletion`, and an `insertion` above `random_insertion`.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float


def average_faithfulness(measured: Sequence[Faithfulness]) -> Faithfulness:
    """The mean areas over faces, of which there is at least one."""
    return Faithfulness(*np.mean([astuple(one) for one in measured], axis=0).tolist())


def measure_faithfulness(predict: Predict, pixels: Pixels, found: FaceMap, *, seed: int = 0) -> Faithfulness:
    """The areas under both curves of a map of a crop, uint8 RGB `(size, size, 3)`, and of random maps.

    `seed` chooses the random maps: the values of the map in another order.
    """
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(found.values.ravel()).reshape(found.values.shape) for _ in range(RANDOM_MAPS)]
    areas: dict[str, list[float]] = {}
    for kind, curve in ((DELETION, deletion_curve), (INSERTION, insertion_curve)):
        areas[kind] = [
            area_under_curve(curve(predict, pixels, values, found.group))
            for values in (found.values, *shuffled)
        ]
    deletion, insertion = areas[DELETION], areas[INSERTION]
    return Faithfulness(
        deletion[0], insertion[0], float(np.mean(deletion[1:])), float(np.mean(insertion[1:]))
    )


def deletion_curve(
    predict: Predict, pixels: Pixels, values: Floats, group: int, *, steps: int = STEPS
) -> Floats:
    """Probability `(steps + 1,)` of an age group while the parts of a crop get its mean colour.

    `values` `(rows, columns)` is the map: its highest parts go first, an equal share of the pixels a step.
    The first point is the whole crop, the last one a plain colour.
    """
    plain = np.broadcast_to(pixels.mean(axis=(0, 1)).astype(np.uint8), pixels.shape)
    return _run(predict, pixels, plain, values, group, steps)


def insertion_curve(
    predict: Predict, pixels: Pixels, values: Floats, group: int, *, steps: int = STEPS
) -> Floats:
    """Probability `(steps + 1,)` of an age group while the parts of a blurred crop become sharp.

    As `deletion_curve`; the first point is the blurred crop, the last one the whole crop.
    """
    blurred = cv2.GaussianBlur(pixels, (0, 0), BLUR * len(pixels))
    return _run(predict, np.asarray(blurred, dtype=np.uint8), pixels, values, group, steps)


def area_under_curve(curve: Floats) -> float:
    """Area under a curve `(n,)` whose points are equally far apart on a width of 1 (trapezoids)."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def resize_map(values: Floats, size: int) -> Floats:
    """A map `(rows, columns)` as `(size, size)`, bilinear between the middles of its cells."""
    resized = cv2.resize(np.asarray(values, dtype=np.float64), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float64)


def _run(predict: Predict, start: Pixels, end: Pixels, values: Floats, group: int, steps: int) -> Floats:
    copies = list(_replace_by_rank(start, end, values, steps))
    found: Floats = run_in_batches(predict, copies)[:, group]
    return found


def _replace_by_rank(start: Pixels, end: Pixels, values: Floats, steps: int) -> Iterator[Pixels]:
    """`start`, and copies in which ever more pixels are those of `end`, the highest of the map first."""
    order = np.argsort(-resize_map(values, len(start)).ravel(), kind="stable")
    current, target = start.reshape(-1, 3).copy(), end.reshape(-1, 3)
    yield start
    for part in np.array_split(order, steps):
        current[part] = target[part]
        yield current.reshape(start.shape).copy()
