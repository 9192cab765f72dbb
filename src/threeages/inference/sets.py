"""Sets of age groups, by a threshold that was measured before; plain numpy."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.labels import AGE_GROUPS


def prediction_sets(probs: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Mask `(n, 3)` of the age groups in each row's set: never empty and without a gap.

    `threshold` is one for all rows or one for each, `(n,)`.
    The most probable group always belongs to it, and MIDDLE where YOUNG and OLD do; both only add coverage.
    """
    p = np.asarray(probs, dtype=np.float64)
    inside = p >= np.asarray(threshold).reshape(-1, 1)
    inside[np.arange(len(p)), p.argmax(axis=1)] = True
    inside[:, 1] |= inside[:, 0] & inside[:, 2]
    return inside


def set_names(probs: ArrayLike, threshold: float) -> list[str]:
    """The set of one row `(3,)` by name, youngest first."""
    inside = prediction_sets(np.asarray(probs)[None], threshold)[0]
    return [name for name, member in zip(AGE_GROUPS, inside, strict=True) if member]
