"""Figures of merit for ordered class probabilities, and their intervals by cluster; plain numpy.

Everything but `per_class` and `reliability_bins` is a function of sums over rows: a confusion matrix, the sum
of two losses and the calibration gap of each bin. That makes one resample one row of a matrix product.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import DataError
from threeages.labels import AGE_GROUPS

Floats = NDArray[np.float64]

CLASSES = len(AGE_GROUPS)
BINS = 15  # the customary number of bins of the expected calibration error
CLIP = 1e-7  # a probability of 0 for the true class would make the NLL of a whole set infinite
_CELLS = CLASSES * CLASSES
_CHUNK = 2_000_000  # weights held at a time while resampling: 16 MB


def accuracy(labels: ArrayLike, probs: ArrayLike) -> float:
    """Share of rows whose most probable class is the label; labels `(n,)`, probs `(n, 3)`."""
    return _one("accuracy", labels, probs)


def balanced_accuracy(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean recall over the classes that occur among the labels."""
    return _one("balanced_accuracy", labels, probs)


def f1_macro(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean F1 over the classes that occur among the labels."""
    return _one("f1_macro", labels, probs)


def mae_bins(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean distance, in age groups, between the answer and the label: 0 to 2."""
    return _one("mae_bins", labels, probs)


def within_one(labels: ArrayLike, probs: ArrayLike) -> float:
    """Share of rows at most one age group off."""
    return _one("within_one", labels, probs)


def qwk(labels: ArrayLike, probs: ArrayLike) -> float:
    """Quadratic weighted kappa, -1 to 1; NaN where labels and answers are all of one and the same class."""
    return _one("qwk", labels, probs)


def nll(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean negative log-likelihood of the labels in nats, probabilities clipped at 1e-7."""
    return _one("nll", labels, probs)


def brier(labels: ArrayLike, probs: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the one-hot label, summed over classes: 0 to 2."""
    return _one("brier", labels, probs)


def ece(labels: ArrayLike, probs: ArrayLike) -> float:
    """Expected calibration error: mean |confidence - accuracy| over 15 equal-width bins of confidence."""
    return _one("ece", labels, probs)


def summarize(labels: ArrayLike, probs: ArrayLike) -> dict[str, float]:
    """Every figure above by name; raises DataError on no rows, other labels than 0-2 or NaN probabilities."""
    sums = _row_stats(*check_rows(labels, probs)).sum(axis=0, keepdims=True)
    return {name: float(values[0]) for name, values in _from_sums(sums).items()}


def confusion_matrix(labels: ArrayLike, probs: ArrayLike) -> NDArray[np.int64]:
    """Counts `(3, 3)`: row is the label, column the answer."""
    truth, p = check_rows(labels, probs)
    cells = truth * CLASSES + p.argmax(axis=1)
    return np.bincount(cells, minlength=_CELLS).reshape(CLASSES, CLASSES).astype(np.int64)


def per_class(labels: ArrayLike, probs: ArrayLike) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class by name; 0 where a figure has no rows."""
    confusion = confusion_matrix(labels, probs).astype(np.float64)
    hits, actual, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = _ratio(hits, said), _ratio(hits, actual), _ratio(2 * hits, actual + said)
    return {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(actual[i]),
        }
        for i, name in enumerate(AGE_GROUPS)
    }


def reliability_bins(labels: ArrayLike, probs: ArrayLike) -> list[dict[str, float]]:
    """The bins that `ece` averages, empty ones left out: low, high, n, mean confidence and accuracy."""
    truth, p = check_rows(labels, probs)
    confidence, bins, hit = p.max(axis=1), _bin(p), p.argmax(axis=1) == truth
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(hit[bins == b].mean()),
        }
        for b in np.unique(bins).tolist()
    ]


def bootstrap_by_cluster(
    labels: ArrayLike, probs: ArrayLike, identities: ArrayLike | None, *, n: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95% percentile interval of every figure, resampling whole identities (rows where `identities` is None).

    Rows of one person are not independent, so resampling rows would make the intervals too narrow. A row
    whose cluster is '' is a cluster of its own. Fewer than two identities allow no interval: NaN.
    """
    truth, p = check_rows(labels, probs)
    stats = _cluster_sums(_row_stats(truth, p), identities)
    if len(stats) < 2:
        return dict.fromkeys(_from_sums(stats), (np.nan, np.nan))
    figures = _from_sums(_resampled_sums(stats, n, np.random.default_rng(seed)))
    return {name: _interval(values) for name, values in figures.items()}


def paired_differences(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    identities: ArrayLike | None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """(difference, low, high) of every figure: `second` less `first`, both judged on the same draws.

    As `bootstrap_by_cluster`, but what makes a draw of people easy or hard cancels out.
    """
    pair = [_row_stats(*check_rows(labels, probs)) for probs in (first, second)]
    sums = _cluster_sums(np.hstack(pair), identities)
    draws = (
        _resampled_sums(sums, n, np.random.default_rng(seed))
        if len(sums) > 1
        else np.empty((0, sums.shape[1]))
    )
    exact, resampled = (_differences(values) for values in (sums.sum(axis=0, keepdims=True), draws))
    return {name: (float(exact[name][0]), *_interval(resampled[name])) for name in exact}


def _differences(sums: Floats) -> dict[str, Floats]:
    """Every figure of the right half of the sums less that of the left."""
    left, right = (_from_sums(half) for half in np.hsplit(sums, 2))
    return {name: right[name] - left[name] for name in left}


def identity_codes(identities: ArrayLike) -> NDArray[np.int64]:
    """Number of each row's cluster, from 0; every row whose cluster is '' gets one of its own."""
    names = np.asarray(identities).astype(str)
    _, codes = np.unique(names, return_inverse=True)
    unknown = names == ""
    codes[unknown] = codes.max(initial=0) + 1 + np.arange(unknown.sum())
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _one(name: str, labels: ArrayLike, probs: ArrayLike) -> float:
    return summarize(labels, probs)[name]


def check_rows(labels: ArrayLike, probs: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Labels int64 `(n,)` and probs float64 `(n, 3)`; raises DataError where a row cannot be judged."""
    truth, p = np.asarray(labels, dtype=np.int64), np.asarray(probs, dtype=np.float64)
    if not len(truth) or p.shape != (len(truth), CLASSES):
        raise DataError(
            f"Labels of shape {truth.shape} and probabilities of shape {p.shape} cannot be judged.",
            hint=f"Give at least one row: labels (n,) and probabilities (n, {CLASSES}).",
        )
    if truth.min() < 0 or truth.max() >= CLASSES or not np.isfinite(p).all():
        raise DataError(
            "Some rows have no label or no probabilities.",
            hint="Leave them out before judging: labels are 0, 1 or 2 and probabilities finite.",
        )
    return truth, p


def _bin(p: Floats) -> NDArray[np.int64]:
    """Bin of each row's confidence; bins are open below and closed above, as is customary."""
    bins: NDArray[np.int64] = np.ceil(p.max(axis=1) * BINS).astype(np.int64) - 1
    return bins.clip(0, BINS - 1)


def _row_stats(truth: NDArray[np.int64], p: Floats) -> Floats:
    """What each row adds to the sums `(n, 26)`: confusion cell, NLL, Brier and its bin's calibration gap."""
    rows, answer = np.arange(len(truth)), p.argmax(axis=1)
    stats = np.zeros((len(truth), _CELLS + 2 + BINS))
    stats[rows, truth * CLASSES + answer] = 1
    stats[:, _CELLS] = -np.log(np.clip(p[rows, truth], CLIP, 1))
    stats[:, _CELLS + 1] = ((p - np.eye(CLASSES)[truth]) ** 2).sum(axis=1)
    stats[rows, _CELLS + 2 + _bin(p)] = p.max(axis=1) - (answer == truth)
    return stats


def _from_sums(sums: Floats) -> dict[str, Floats]:
    """Every figure `(r,)` of `r` sets of rows given as sums `(r, 26)`."""
    confusion = sums[:, :_CELLS].reshape(-1, CLASSES, CLASSES)
    count = confusion.sum(axis=(1, 2))
    hits = np.einsum("rii->ri", confusion)
    actual, said = confusion.sum(axis=2), confusion.sum(axis=1)
    distance = np.abs(np.subtract.outer(np.arange(CLASSES), np.arange(CLASSES)))
    by_chance = np.einsum("ri,rj,ij->r", actual, said, distance**2.0) / count
    observed = (confusion * distance**2).sum(axis=(1, 2))
    kappa = 1 - np.divide(observed, by_chance, out=np.full_like(count, np.nan), where=by_chance > 0)
    present = actual > 0
    return {
        "accuracy": hits.sum(axis=1) / count,
        "balanced_accuracy": _ratio(hits, actual).sum(axis=1) / present.sum(axis=1),
        "f1_macro": (_ratio(2 * hits, actual + said) * present).sum(axis=1) / present.sum(axis=1),
        "mae_bins": (confusion * distance).sum(axis=(1, 2)) / count,
        "within_one": (confusion * (distance <= 1)).sum(axis=(1, 2)) / count,
        "qwk": kappa,
        "nll": sums[:, _CELLS] / count,
        "brier": sums[:, _CELLS + 1] / count,
        "ece": np.abs(sums[:, _CELLS + 2 :]).sum(axis=1) / count,
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Element-wise quotient, 0 where the divisor is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _cluster_sums(stats: Floats, identities: ArrayLike | None) -> Floats:
    if identities is None:
        return stats
    codes = identity_codes(identities)
    sums = np.zeros((int(codes.max()) + 1, stats.shape[1]))
    np.add.at(sums, codes, stats)
    return sums


def _resampled_sums(stats: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Sums `(n, 26)` of `n` draws with replacement of as many identities as there are."""
    units = len(stats)
    step = max(1, _CHUNK // units)
    parts = []
    for start in range(0, n, step):
        size = min(step, n - start)
        draws = rng.integers(units, size=(size, units)) + np.arange(size)[:, None] * units
        weights = np.bincount(draws.ravel(), minlength=size * units).reshape(size, units)
        parts.append(weights.astype(np.float64) @ stats)
    return np.concatenate(parts)


def _interval(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
