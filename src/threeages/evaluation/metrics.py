"""Metrics of ordered class probabilities and their intervals by identity; plain numpy.

The classes are the age groups, or brackets of the user's own (`classes`, the number of columns of probs).

Everything but `per_class` and `reliability_bins` is a function of sums over rows: a confusion matrix, the sum
of two losses and the calibration gap of each bin. That makes one resample one row of a matrix product.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import DataError
from threeages.evaluation.enough import LEAST_UNITS
from threeages.evaluation.rates import measure_rate
from threeages.labels import AGE_GROUPS

Floats = NDArray[np.float64]

CLASSES = len(AGE_GROUPS)
BINS = 15  # the customary number of bins of the expected calibration error
CLIP = 1e-7  # a probability of 0 for the true class would make the NLL of a whole set infinite
NO_INTERVAL = (math.nan, math.nan)
ROUNDING = 1e-12  # resamples that differ by less are alike
_CHUNK = 2_000_000  # weights held at a time while resampling: 16 MB


def summarize(labels: ArrayLike, probs: ArrayLike, *, classes: int = CLASSES) -> dict[str, float]:
    """Every metric by name, of labels `(n,)` and probs `(n, classes)`.

    - `accuracy`: share of rows whose most probable class is the label
    - `balanced_accuracy`, `f1_macro`: mean recall and mean F1 over the classes that occur among the labels;
      NaN where that is one class alone
    - `mae_bins`: mean distance between prediction and label in age groups, 0 to 2 for three
    - `within_one`: share of rows at most one age group off
    - `qwk`: quadratic weighted kappa (Cohen 1968), -1 to 1; NaN where the labels are all of one class
    - `nll`: mean negative log-likelihood of the labels in nats, probabilities clipped at 1e-7
    - `brier`: mean squared distance to the one-hot label, summed over the classes (Brier 1950), 0 to 2
    - `ece`: expected calibration error, the mean |confidence - accuracy| over 15 bins of confidence of equal
      width (Guo et al. 2017)

    Raises DataError on no rows, labels of no class, or probabilities that are not finite.
    """
    sums = _row_stats(*check_rows(labels, probs, classes)).sum(axis=0, keepdims=True)
    return {name: float(values[0]) for name, values in _from_sums(sums).items()}


def nll(labels: ArrayLike, probs: ArrayLike) -> float:
    """The metric `nll` of `summarize`, which fits temperatures."""
    return summarize(labels, probs)["nll"]


def confusion_matrix(labels: ArrayLike, probs: ArrayLike, *, classes: int = CLASSES) -> NDArray[np.int64]:
    """Counts int64 `(classes, classes)`: the row is the label, the column the prediction."""
    truth, p = check_rows(labels, probs, classes)
    cells = truth * classes + p.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def per_class(
    labels: ArrayLike, probs: ArrayLike, *, names: Sequence[str] = AGE_GROUPS
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class by name.

    NaN where a metric is not defined: recall and F1 of a class without a label, precision of one that is
    never predicted.
    """
    confusion = confusion_matrix(labels, probs, classes=len(names)).astype(np.float64)
    hits, actual, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    nothing = np.full(len(names), np.nan)
    precision, recall, f1 = (
        np.divide(part, whole, out=nothing.copy(), where=known > 0)
        for part, whole, known in (
            (hits, predicted, predicted),
            (hits, actual, actual),
            (2 * hits, actual + predicted, actual),
        )
    )
    return {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(actual[i]),
        }
        for i, name in enumerate(names)
    }


def reliability_bins(
    labels: ArrayLike, probs: ArrayLike, *, classes: int = CLASSES
) -> list[dict[str, float]]:
    """The non-empty bins that `ece` averages: low, high, n, mean confidence and accuracy of each."""
    truth, p = check_rows(labels, probs, classes)
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


def bootstrap_by_identity(
    labels: ArrayLike,
    probs: ArrayLike,
    identities: ArrayLike | None,
    *,
    n: int = 1000,
    seed: int = 0,
    classes: int = CLASSES,
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval (low, high) of every metric by the clustered bootstrap.

    Each of `n` resamples draws whole identities with replacement, as many as there are (rows where
    `identities` is None). Rows of one identity are not independent, so resampling rows would make the
    intervals too narrow. A row whose identity is '' is one of its own. Less than LEAST_UNITS identities allow
    no interval: NaN. Where all resamples are alike, as those of answers that are all right, they show no
    doubt although there is some: the interval of `accuracy` and `within_one` is then Wilson's by identity
    (evaluation.rates), and other metrics have none. Source: Davison and Hinkley, "Bootstrap Methods and their
    Application" (1997), 3.8.
    """
    truth, p = check_rows(labels, probs, classes)
    stats = _identity_sums(_row_stats(truth, p), identities)
    if len(stats) < LEAST_UNITS:
        return dict.fromkeys(_from_sums(stats), NO_INTERVAL)
    resampled = _from_sums(_resampled_sums(stats, n, np.random.default_rng(seed)))
    found = {name: _interval(values) for name, values in resampled.items()}
    off = np.abs(p.argmax(axis=1) - truth)
    for name, hits in (("accuracy", off == 0), ("within_one", off <= 1)):
        if not math.isfinite(found[name][0]):
            found[name] = _bound_rate(hits, identities)
    return found


def bootstrap_mean(
    values: ArrayLike, identities: ArrayLike | None, *, n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval (low, high) of the mean of `values` `(n,)`, as `bootstrap_by_identity`.

    Values that are all 0 or all 1 get Wilson's interval.
    """
    numbers = np.asarray(values, dtype=np.float64)
    found = resample_means(numbers[:, None], identities, n=n, seed=seed)
    if found.units < LEAST_UNITS:
        return NO_INTERVAL
    hits = numbers > 0
    same = len(numbers) and (numbers == numbers[0]).all() and numbers[0] in (0, 1)
    return _bound_rate(hits, identities) if same else _interval(found.means[:, 0])


@dataclass(frozen=True)
class ResampledMeans:
    """Means `(n, k)` of k columns in n resamples of `units` identities, or rows where none is named."""

    means: Floats
    units: int


def resample_means(
    values: Floats, identities: ArrayLike | None, *, n: int = 1000, seed: int = 0
) -> ResampledMeans:
    """The means of columns `(rows, k)` in resamples of whole identities, as `bootstrap_by_identity`."""
    sums = _identity_sums(np.column_stack([values, np.ones(len(values))]), identities)
    resampled = _resampled_sums(sums, n, np.random.default_rng(seed)) if len(sums) else sums
    return ResampledMeans(resampled[:, :-1] / resampled[:, -1:], len(sums))


def paired_differences(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    identities: ArrayLike | None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """(difference, low, high) of every metric: `second` less `first`, with a paired 95 % interval.

    Labels `(n,)`, both probs `(n, 3)` of the same rows. Both are scored on the same resamples of identities
    (see `bootstrap_by_identity`), so that how easy a resample is cancels out. The ends are NaN below
    LEAST_UNITS identities, and where no resample differs.
    """
    pair = [_row_stats(*check_rows(labels, probs)) for probs in (first, second)]
    sums = _identity_sums(np.hstack(pair), identities)
    resamples = np.empty((0, sums.shape[1]))
    if len(sums) >= LEAST_UNITS:
        resamples = _resampled_sums(sums, n, np.random.default_rng(seed))
    exact, resampled = (_differences(values) for values in (sums.sum(axis=0, keepdims=True), resamples))
    return {name: (float(exact[name][0]), *_interval(resampled[name])) for name in exact}


def _differences(sums: Floats) -> dict[str, Floats]:
    """Every metric of the right half of the sums less that of the left."""
    left, right = (_from_sums(half) for half in np.hsplit(sums, 2))
    return {name: right[name] - left[name] for name in left}


def identity_codes(identities: ArrayLike) -> NDArray[np.int64]:
    """Number of each row's identity `(n,)`, from 0; a row whose identity is '' gets one of its own."""
    names = np.asarray(identities).astype(str)
    _, codes = np.unique(names, return_inverse=True)
    unknown = names == ""
    codes[unknown] = codes.max(initial=0) + 1 + np.arange(unknown.sum())
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def score_confusions(confusions: Floats) -> dict[str, Floats]:
    """Accuracy, balanced accuracy and macro F1 `(r,)` of confusion matrices `(r, classes, classes)`.

    As in `summarize`; NaN for a matrix without a row.
    """
    hits = np.einsum("rii->ri", confusions)
    actual, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    present = actual > 0
    classes = np.where(present.sum(axis=1) > 1, present.sum(axis=1), np.nan)  # one alone is no mean
    count = np.where(present.any(axis=1), actual.sum(axis=1), np.nan)
    return {
        "accuracy": hits.sum(axis=1) / count,
        "balanced_accuracy": _ratio(hits, actual).sum(axis=1) / classes,
        "f1_macro": (_ratio(2 * hits, actual + predicted) * present).sum(axis=1) / classes,
    }


def check_rows(
    labels: ArrayLike, probs: ArrayLike, classes: int = CLASSES
) -> tuple[NDArray[np.int64], Floats]:
    """Labels int64 `(n,)` and probs float64 `(n, classes)`; raises DataError where a row cannot be scored."""
    truth, p = np.asarray(labels, dtype=np.int64), np.asarray(probs, dtype=np.float64)
    if not len(truth) or p.shape != (len(truth), classes):
        raise DataError(
            f"Labels of shape {truth.shape} and probabilities of shape {p.shape} cannot be scored.",
            hint=f"Give at least one row: labels (n,) and probabilities (n, {classes}).",
        )
    if truth.min() < 0 or truth.max() >= classes or not np.isfinite(p).all():
        raise DataError(
            "Some rows have no label or no probabilities.",
            hint=f"Score other rows only: labels are 0 to {classes - 1} and probabilities finite.",
        )
    return truth, p


def _bin(p: Floats) -> NDArray[np.int64]:
    """Bin of each row's confidence; bins are open below and closed above, as is customary."""
    bins: NDArray[np.int64] = np.ceil(p.max(axis=1) * BINS).astype(np.int64) - 1
    return bins.clip(0, BINS - 1)


def _row_stats(truth: NDArray[np.int64], p: Floats) -> Floats:
    """What each row adds to the sums `(n, 26)`: confusion cell, NLL, Brier and its bin's calibration gap.

    It is 26 for three classes: the square of their number, and 17.
    """
    rows, predicted, classes = np.arange(len(truth)), p.argmax(axis=1), p.shape[1]
    cells = classes**2
    stats = np.zeros((len(truth), cells + 2 + BINS))
    stats[rows, truth * classes + predicted] = 1
    stats[:, cells] = -np.log(np.clip(p[rows, truth], CLIP, 1))
    stats[:, cells + 1] = ((p - np.eye(classes)[truth]) ** 2).sum(axis=1)
    stats[rows, cells + 2 + _bin(p)] = p.max(axis=1) - (predicted == truth)
    return stats


def _from_sums(sums: Floats) -> dict[str, Floats]:
    """Every metric `(r,)` of `r` sets of rows given as sums `(r, 26)`."""
    cells = sums.shape[1] - 2 - BINS
    width = math.isqrt(cells)
    confusion = sums[:, :cells].reshape(-1, width, width)
    count = confusion.sum(axis=(1, 2))
    actual, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    distance = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
    by_chance = np.einsum("ri,rj,ij->r", actual, predicted, distance**2.0) / count
    observed = (confusion * distance**2).sum(axis=(1, 2))
    kappa = 1 - np.divide(observed, by_chance, out=np.full_like(count, np.nan), where=by_chance > 0)
    scores = score_confusions(confusion)
    return {
        **scores,
        "mae_bins": (confusion * distance).sum(axis=(1, 2)) / count,
        "within_one": (confusion * (distance <= 1)).sum(axis=(1, 2)) / count,
        "qwk": np.where(np.isfinite(scores["balanced_accuracy"]), kappa, np.nan),
        "nll": sums[:, cells] / count,
        "brier": sums[:, cells + 1] / count,
        "ece": np.abs(sums[:, cells + 2 :]).sum(axis=1) / count,
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Element-wise quotient, 0 where the divisor is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _identity_sums(stats: Floats, identities: ArrayLike | None) -> Floats:
    if identities is None:
        return stats
    codes = identity_codes(identities)
    sums = np.zeros((int(codes.max()) + 1, stats.shape[1]))
    np.add.at(sums, codes, stats)
    return sums


def _resampled_sums(stats: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Sums `(n, 26)` of `n` resamples with replacement of as many identities as there are."""
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
    if not len(finite) or np.ptp(finite) < ROUNDING:
        return NO_INTERVAL
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _bound_rate(hits: NDArray[np.bool_], identities: ArrayLike | None) -> tuple[float, float]:
    units = np.arange(len(hits)) if identities is None else identity_codes(identities)
    rate = measure_rate(hits, units)
    return rate.low, rate.high
