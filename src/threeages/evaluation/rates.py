"""A share of rows with its interval by identity; plain numpy."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True)
class Rate:
    """A share of `n` rows of `units` identities with the ends of its interval; NaN without a row.

    The interval is NaN where there are less than two identities.
    """

    n: int
    units: int
    rate: float
    low: float
    high: float


def measure_rate(
    hits: NDArray[np.bool_], units: NDArray[np.int64], *, level: float = LEVEL, comparisons: int = 1
) -> Rate:
    """The share of `hits` `(n,)`, with an interval over `units` `(n,)`, the number of each row's identity.

    Wilson's interval with the effective number of rows: that of independent rows with the same variance as
    the share has when identities are drawn whole, at most the number of rows, and the number of identities
    where no row or every row is a hit, so that 0 of 40 is no certainty. With several `comparisons` the
    intervals of all of them hold at once (Bonferroni). Source: Franco, Little, Louis and Slud, "Comparative
    study of confidence intervals for proportions in complex sample surveys" (2019).
    """
    n = len(hits)
    names, codes = np.unique(units, return_inverse=True)
    count = len(names)
    if not n:
        return Rate(0, 0, math.nan, math.nan, math.nan)
    rate = float(hits.mean())
    if count < 2:
        return Rate(n, count, rate, math.nan, math.nan)
    residuals = np.bincount(codes, hits - rate, minlength=count)
    variance = count / (count - 1) * float((residuals**2).sum()) / n**2
    effective = min(rate * (1 - rate) / variance, n) if 0 < rate < 1 and variance > 0 else count
    low, high = _wilson(rate, effective, NormalDist().inv_cdf(1 - (1 - level) / 2 / comparisons))
    return Rate(n, count, rate, low, high)


def _wilson(rate: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927)."""
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(middle - half, 0.0) if rate > 0 else 0.0, min(middle + half, 1.0) if rate < 1 else 1.0
