"""Sets of rows that show the same picture under several labels."""

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
    return [rows for rows in sets if len(set(labels[rows].tolist()) - {UNKNOWN}) > 1]
