"""Conformal prediction sets of age groups and intervals of years, by identity; plain numpy.

Split conformal prediction, calibrated on held-out identities. Rows of one identity are not exchangeable with
rows of another, so the quantile is taken over identities of equal weight. Source: Lee, Barber and Willett,
"Distribution-free inference with hierarchical data" (2023).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import ConfigError
from threeages.evaluation.metrics import Floats, check_rows, identity_codes


def find_set_threshold(
    labels: ArrayLike,
    probs: ArrayLike,
    identities: ArrayLike | None,
    coverage: float,
    strata: ArrayLike | None = None,
) -> float:
    """The probability from which on an age group belongs to the set; 0 where only the full set will do.

    Labels `(n,)`, probs `(n, 3)`, identities `(n,)` or None where every row is one of its own; the identities
    of each of the `strata` `(n,)` weigh the same together. The set of a new identity's face then holds the
    true age group with probability `coverage` or more, whatever the model, as long as that identity is
    exchangeable with those given. ConfigError where the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"The coverage was {coverage}.", hint="Give a share between 0 and 1, such as 0.9.")
    truth, p = check_rows(labels, probs)
    true_probs = p[np.arange(len(truth)), truth]
    weights = compute_identity_weights(identities, len(truth), strata)
    return max(-_quantile(-true_probs, weights, coverage), 0.0)


def compute_interval_margin(
    ages: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    identities: ArrayLike | None,
    coverage: float,
    strata: ArrayLike | None = None,
) -> float:
    """Years to add at both ends of the intervals so that a new identity's age lies inside them.

    Ages, low and high are years `(n,)`, identities and strata as for `find_set_threshold`. The margin is
    negative where the intervals are wider than needed and infinite where there are too few identities.
    Source: conformalized quantile regression (Romano, Patterson and Candes 2019), here with identities of
    equal weight.
    """
    age = np.asarray(ages, dtype=np.float64)
    miss = np.maximum(np.asarray(low) - age, age - np.asarray(high))
    weights = compute_identity_weights(identities, len(age), strata)
    return _quantile(miss, weights, coverage)


def measure_coverage_by_identity(
    labels: ArrayLike, inside: NDArray[np.bool_], identities: ArrayLike | None
) -> Floats:
    """Share of each identity's rows whose set `inside` bool `(n, 3)` holds the label; `(identities,)`."""
    truth = np.asarray(labels, dtype=np.int64)
    hit = inside[np.arange(len(truth)), truth].astype(np.float64)
    codes = _codes(identities, len(truth))
    sums: Floats = np.bincount(codes, weights=hit) / np.bincount(codes)
    return sums


def compute_identity_weights(identities: ArrayLike | None, n: int, strata: ArrayLike | None = None) -> Floats:
    """Weight of each row `(n,)`: one over its identity's number of rows, so that all identities weigh 1.

    With `strata` `(n,)` those of each stratum weigh the same together, and all as much as without.
    """
    codes = _codes(identities, n)
    weights: Floats = 1.0 / np.bincount(codes)[codes]
    if strata is None:
        return weights
    parts = identity_codes(strata)
    sums = np.bincount(parts, weights)
    even: Floats = weights * (weights.sum() / len(sums) / sums)[parts]
    return even


def _quantile(scores: Floats, weights: Floats, level: float) -> float:
    """Weighted quantile with one more identity of infinite score; infinite where too few rows reach it."""
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) / (weights.sum() + 1)
    index = int(np.searchsorted(reached, level - 1e-12))
    return float(scores[order[index]]) if index < len(order) else float("inf")


def _codes(identities: ArrayLike | None, n: int) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64) if identities is None else identity_codes(identities)
