"""Intervals of several differences that hold at once, so that the largest of many is not taken for a find.

The bootstrap gives the critical value of the largest studentized difference over all that are compared, which
Student's t then takes from the normal distribution to the number of identities. Sources: Westfall and Young,
"Resampling-based multiple testing" (1993); Cherian and Candes, "Statistical inference for fairness auditing"
(2024).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.evaluation.enough import LEAST_UNITS
from threeages.evaluation.metrics import resample_means

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Bounds:
    """The ends of an interval, and the p-value of no difference; NaN where no resample differs."""

    low: float
    high: float
    p_value: float


NO_BOUNDS = Bounds(math.nan, math.nan, math.nan)


def find_largest(deviations: Floats, errors: Floats) -> Floats:
    """The largest studentized difference of each resample `(r,)`.

    `deviations` `(r, k)` are those of k differences in r resamples from their values, `errors` `(k,)` their
    standard errors; a difference without an error says nothing and is passed over.
    """
    known = errors > 0
    studentized = np.abs(deviations[:, known]) / errors[known]
    return np.asarray(studentized.max(axis=1, initial=0.0))


def bound_difference(value: float, error: float, largest: Floats, freedom: int) -> Bounds:
    """The interval of a difference of two shares, corrected for all that `largest` `(r,)` was found among."""
    if not error > 0:
        return NO_BOUNDS
    critical = float(_to_student(np.asarray([np.quantile(largest, LEVEL)]), freedom)[0])
    as_far = _to_student(largest, freedom) >= abs(value) / error
    p_value = float((1 + as_far.sum()) / (1 + len(largest)))
    return Bounds(max(value - critical * error, -1.0), min(value + critical * error, 1.0), p_value)


def bound_means(
    values: Floats, identities: ArrayLike | None, *, n: int = 1000, seed: int = 0
) -> list[Bounds]:
    """Intervals of the means of columns `(rows, k)` from -1 to 1, which hold for all k at once.

    Each of `n` resamples draws whole identities, or rows where they are None, and gives every mean. With less
    than LEAST_UNITS of them nothing can be told: NaN.
    """
    found = resample_means(values, identities, n=n, seed=seed)
    if found.units < LEAST_UNITS:
        return [NO_BOUNDS] * values.shape[1]
    means = values.mean(axis=0)
    deviations = found.means - means
    spread = deviations.std(axis=0)
    largest = find_largest(deviations, spread)
    errors = spread * math.sqrt(found.units / (found.units - 1))  # resamples of few vary less than samples
    pairs = zip(means.tolist(), errors.tolist(), strict=True)
    return [bound_difference(mean, error, largest, found.units - 1) for mean, error in pairs]


def _to_student(z: Floats, freedom: int) -> Floats:
    """Values of Student's t that are as unlikely as normal ones; Abramowitz and Stegun (1964), 26.7.8."""
    below = (1 - 1 / (4 * freedom)) ** 2 - z**2 / (2 * freedom)
    return np.divide(z, np.sqrt(np.maximum(below, 0)), out=np.full_like(z, np.inf), where=below > 0)
