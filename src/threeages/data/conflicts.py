"""Sets of rows that show the same picture under several labels."""

from collections.abc import Container, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from threeages.data.duplicates import NearDuplicates, number_pictures
from threeages.labels import UNKNOWN


def find_conflicts(
    labels: NDArray[np.int64], digests: NDArray[np.uint8], near: NearDuplicates
) -> list[list[int]]:
    """Rows that exact or near duplicates link and that have more than one known label, set by set.

    `labels` are `(n,)`, `digests` uint8 `(n, 16)`, equal for images with identical pixels.
    """
    roots = number_pictures(digests, near)
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order])) + 1
    sets = (rows.tolist() for rows in np.split(order, starts) if len(rows) > 1)
    return [rows for rows in sets if _disagree(labels, rows)]


def without_rows(
    conflicts: Iterable[Sequence[int]], labels: NDArray[np.int64], left_out: Container[int]
) -> list[list[int]]:
    """The sets of `find_conflicts` without some rows, where their other labels still disagree.

    Rows whose images cannot be read look alike, as all of them have the same digest.
    """
    kept = ([row for row in rows if row not in left_out] for rows in conflicts)
    return [rows for rows in kept if _disagree(labels, rows)]


def _disagree(labels: NDArray[np.int64], rows: list[int]) -> bool:
    """Whether the rows have more than one known label."""
    return len(set(labels[rows].tolist()) - {UNKNOWN}) > 1
