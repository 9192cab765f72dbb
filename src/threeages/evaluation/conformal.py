"""Sets of age groups that hold the true one with a chosen probability for a new person; plain numpy.

Split conformal prediction on people outside the training set. Rows of one person are not exchangeable with
rows of another, so the quantile is taken over persons, each of equal weight, after Lee, Barber and Willett,
"Distribution-free inference with hierarchical data" (2023).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import ConfigError
from threeages.evaluation.metrics import Floats, check_rows, cluster_codes
from threeages.labels import AGE_GROUPS


def set_threshold(labels: ArrayLike, probs: ArrayLike, clusters: ArrayLike | None, coverage: float) -> float:
    """The probability from which on an age group belongs to the set; 0 where only the full set will do.

    Labels `(n,)`, probs `(n, 3)`, clusters `(n,)` or None where every row is a person of its own. The set of
    a new person's face then holds the true age group with probability `coverage` or more, whatever the
    model, as long as that person is drawn like those given.
    """
    if not 0 < coverage < 1:
        raise ConfigError(f"The coverage was {coverage}.", hint="Give a share between 0 and 1, such as 0.9.")
    truth, p = check_rows(labels, probs)
    true_probs = p[np.arange(len(truth)), truth]
    weights = cluster_weights(clusters, len(truth))
    return max(-_quantile(-true_probs, weights, coverage), 0.0)


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


def interval_margin(
    ages: ArrayLike, low: ArrayLike, high: ArrayLike, clusters: ArrayLike | None, coverage: float
) -> float:
    """Years to add at both ends of the intervals `(n,)` so that a new person's age lies inside them.

    Negative where the intervals are wider than needed, infinite where there are too few persons. It is
    conformalized quantile regression (Romano, Patterson and Candes 2019) with persons of equal weight.
    """
    age = np.asarray(ages, dtype=np.float64)
    miss = np.maximum(np.asarray(low) - age, age - np.asarray(high))
    weights = cluster_weights(clusters, len(age))
    return _quantile(miss, weights, coverage)


def coverage_by_cluster(labels: ArrayLike, inside: NDArray[np.bool_], clusters: ArrayLike | None) -> Floats:
    """Share of each person's rows whose set `inside` `(n, 3)` holds the label; `(persons,)`."""
    truth = np.asarray(labels, dtype=np.int64)
    hit = inside[np.arange(len(truth)), truth].astype(np.float64)
    codes = _codes(clusters, len(truth))
    sums: Floats = np.bincount(codes, weights=hit) / np.bincount(codes)
    return sums


def cluster_weights(clusters: ArrayLike | None, n: int) -> Floats:
    """Weight of each row `(n,)`, one over the number of its person's rows, so that persons weigh the same."""
    codes = _codes(clusters, n)
    weights: Floats = 1.0 / np.bincount(codes)[codes]
    return weights


def _quantile(scores: Floats, weights: Floats, level: float) -> float:
    """Weighted quantile, with one more person of infinite score; infinite where too few rows reach it."""
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) / (weights.sum() + 1)
    index = int(np.searchsorted(reached, level - 1e-12))
    return float(scores[order[index]]) if index < len(order) else float("inf")


def _codes(clusters: ArrayLike | None, n: int) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64) if clusters is None else cluster_codes(clusters)
