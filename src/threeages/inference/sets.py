"""Prediction sets of age groups for thresholds that a conformal procedure has measured."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.labels import AGE_GROUPS


def prediction_sets(probs: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
    """Membership `(n, 3)` of the age groups in the prediction sets of probabilities `(n, 3)`.

    `threshold` is the least probability of a member: a number, or one for each row, `(n,)`. No set is empty
    and none has a gap: the most probable age group is always a member, and MIDDLE is one where YOUNG and
    OLD are. Both rules only raise the coverage.
    """
    p = np.asarray(probs, dtype=np.float64)
    inside = p >= np.asarray(threshold).reshape(-1, 1)
    inside[np.arange(len(p)), p.argmax(axis=1)] = True
    inside[:, 1] |= inside[:, 0] & inside[:, 2]
    return inside


def set_names(probs: ArrayLike, threshold: float) -> list[str]:
    """Names of the age groups in the prediction set of one face's probabilities `(3,)`, youngest first."""
    inside = prediction_sets(np.asarray(probs)[None], threshold)[0]
    return [name for name, member in zip(AGE_GROUPS, inside, strict=True) if member]
