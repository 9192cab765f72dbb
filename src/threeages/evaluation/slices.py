"""Metrics by slice with intervals by identity, and the gap between the best and the worst slice.

A slice holds the rows with one value of a column, or with one value of each of two columns. The largest of
many gaps is large by chance alone, so the intervals of the gaps hold for all pairs of slices at once
(evaluation.simultaneous), with as many degrees of freedom as the smaller slice has identities.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.columns import AGE, AGE_HIGH, AGE_LOW
from threeages.data.correcting import CORRECTED_FROM, CORRECTIONS
from threeages.data.manifest import IDENTITY
from threeages.evaluation.metrics import CLASSES, Floats, identity_codes, score_confusions
from threeages.evaluation.predictions import AGE_COLUMNS
from threeages.evaluation.rates import measure_rate
from threeages.evaluation.simultaneous import LEVEL, bound_difference, find_largest
from threeages.evaluation.years import YEARS_COLUMNS

NOT_GIVEN = "(not given)"
MAX_SLICES = 20  # a column with more distinct values holds names or numbers, not categories
MAX_CROSSED = 8  # columns that are paired: 28 pairs
# of a slice that has an interval and is compared; "rule of 30" (Doddington et al. 2000): below it a rate says
# little. Of pairs of columns only such slices are kept
MIN_IDENTITIES = 30
SLICE_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
AND = " & "  # between two columns, and between their values
NO_CATEGORIES = frozenset(
    {AGE, AGE_LOW, AGE_HIGH, IDENTITY, CORRECTED_FROM, CORRECTIONS, *AGE_COLUMNS, *YEARS_COLUMNS}
)

Slices = dict[str, dict[str, dict[str, float]]]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class SliceGap:
    """The gap of a metric between the best and the worst slice of a column, or of a pair of columns.

    `low` and `high` are the ends of its 95 % interval and `p_value` that of no gap; both are corrected for
    all the pairs of slices that were compared by this metric, and NaN where no resample differs. `slices` is
    the number of slices among which the best and the worst were found.
    """

    column: str
    metric: str
    best: str
    worst: str
    gap: float
    low: float
    high: float
    p_value: float
    slices: int


@dataclass(frozen=True)
class SliceAudit:
    """Every slice, and the gaps between them.

    `slices` holds by column and value `n`, `units` (identities, or images where none is named), the metrics
    and the ends of their 95 % intervals, such as `accuracy_low`; a slice of less than `min_identities` units
    has none. `pairs` holds the same by pair of columns, only for slices of that many units; `too_small`
    counts the others. `comparisons` is the number of pairs of slices that were compared by each metric.
    """

    slices: Slices = field(default_factory=dict)
    pairs: Slices = field(default_factory=dict)
    gaps: tuple[SliceGap, ...] = ()
    comparisons: dict[str, int] = field(default_factory=dict)
    too_small: dict[str, int] = field(default_factory=dict)
    min_identities: int = MIN_IDENTITIES

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds beside `slices`: the pairs of columns and the gaps."""
        raw = {key: value for key, value in asdict(self).items() if key not in {"slices", "pairs"}}
        return {"slice_pairs": self.pairs, "slice_gaps": {"level": LEVEL, **raw}}


@dataclass(frozen=True)
class _Column:
    """A column, or a pair of columns: the value of each row as an index `(n,)`, -1 for none."""

    name: str
    values: tuple[str, ...]
    codes: Codes
    units: Codes

    def compared(self) -> NDArray[np.bool_]:
        """Mask of the values that enter the gap: enough identities, and a value that is known."""
        known = np.asarray([NOT_GIVEN not in value.split(AND) for value in self.values])
        return np.asarray(known & (self.units >= MIN_IDENTITIES))


def audit_slices(
    columns: Mapping[str, Sequence[str]],
    labels: Codes,
    probs: Floats,
    identities: NDArray[np.str_] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> SliceAudit:
    """Score labels `(n,)` and probs `(n, 3)` by the values of the columns and of their pairs.

    A column is sliced where it has 2 to 20 distinct values; `age` is sliced by decade. Pairs are made of the
    first eight such columns, where one does not follow from the other. Each of the `resamples` draws whole
    identities `(n,)`, rows where they are None, and scores every slice, so that slices which share an
    identity are compared as they were drawn.
    """
    units = np.arange(len(labels)) if identities is None else identity_codes(identities)
    single = [_create(name, values, units) for name, values in list_sliced(columns).items()]
    crossed, too_small = _cross(single, units)
    cells = labels * CLASSES + probs.argmax(axis=1)
    found = [*single, *crossed]
    bootstrap = _resample(found, cells, units, resamples, seed)
    scored = [_score(column, cells) for column in found]
    hits = cells // CLASSES == cells % CLASSES
    tables = {
        c.name: _describe(c, s, b, hits, units) for c, s, b in zip(found, scored, bootstrap, strict=True)
    }
    gaps, comparisons = _find_gaps(found, scored, bootstrap)
    small = {c.name: int((c.units < MIN_IDENTITIES).sum()) for c in single} | too_small
    return SliceAudit(
        {column.name: tables[column.name] for column in single},
        {column.name: tables[column.name] for column in crossed},
        gaps,
        comparisons,
        {name: count for name, count in small.items() if count},
    )


def list_sliced(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The values of each row by column, for columns of categories; `age` is one by decade."""
    sliced = {
        name: [value or NOT_GIVEN for value in values]
        for name, values in columns.items()
        if name not in NO_CATEGORIES
    }
    if AGE in columns:
        sliced["age_decade"] = [_decade(value) for value in columns[AGE]]
    return {name: values for name, values in sliced.items() if 2 <= len(set(values)) <= MAX_SLICES}


def _create(name: str, values: Sequence[str], units: Codes) -> _Column:
    names = tuple(sorted(set(values), key=_natural))
    index = {value: i for i, value in enumerate(names)}
    codes = np.asarray([index[value] for value in values], dtype=np.int64)
    return _Column(name, names, codes, _count_units(codes, units, len(names)))


def _count_units(codes: Codes, units: Codes, size: int) -> Codes:
    """Number of distinct units of each value."""
    pairs = np.unique(codes[codes >= 0] * (units.max(initial=0) + 1) + units[codes >= 0])
    return np.bincount(pairs // (units.max(initial=0) + 1), minlength=size).astype(np.int64)


def _cross(columns: Sequence[_Column], units: Codes) -> tuple[list[_Column], dict[str, int]]:
    """The pairs of columns with two slices or more of enough units, and the number of smaller slices."""
    found, too_small = [], {}
    for first, second in combinations(columns[:MAX_CROSSED], 2):
        whole = _pair(first, second, units)
        kept = np.flatnonzero(whole.compared())
        given = sum(NOT_GIVEN not in value.split(AND) for value in whole.values)
        if len(kept) > 1 and len(whole.values) > max(len(first.values), len(second.values)):
            found.append(_keep(whole, kept))
            too_small[whole.name] = given - len(kept)
    return found, too_small


def _pair(first: _Column, second: _Column, units: Codes) -> _Column:
    """Every combination of two columns' values that occurs."""
    both = first.codes * len(second.values) + second.codes
    present, codes = np.unique(both, return_inverse=True)
    names = tuple(
        f"{first.values[i // len(second.values)]}{AND}{second.values[i % len(second.values)]}"
        for i in present.tolist()
    )
    codes = codes.astype(np.int64)
    return _Column(f"{first.name}{AND}{second.name}", names, codes, _count_units(codes, units, len(names)))


def _keep(column: _Column, kept: NDArray[np.intp]) -> _Column:
    """The column with the values of these indices alone; rows of others have none."""
    renumbered = np.full(len(column.values), -1)
    renumbered[kept] = np.arange(len(kept))
    values = tuple(column.values[i] for i in kept.tolist())
    return _Column(column.name, values, renumbered[column.codes], column.units[kept])


def _keys(column: _Column, cells: Codes) -> Codes:
    """Index of each row's confusion cell over all values; rows without a value share one behind the last."""
    size = CLASSES**2
    return np.where(column.codes < 0, len(column.values) * size, column.codes * size + cells)


def _confusions(column: _Column, keys: Codes, weights: Floats | None = None) -> Floats:
    """Confusion matrices of the values, `(values, 3, 3)`."""
    size = len(column.values) * CLASSES**2
    sums = np.bincount(keys, weights, minlength=size)[:size].astype(np.float64)
    return sums.reshape(-1, CLASSES, CLASSES)


def _score(column: _Column, cells: Codes) -> Floats:
    """Every metric of SLICE_METRICS of every value, `(values, 3)`."""
    return _stack(_confusions(column, _keys(column, cells)))


def _stack(confusions: Floats) -> Floats:
    found = score_confusions(confusions)
    return np.stack([found[name] for name in SLICE_METRICS], axis=-1)


def _resample(
    columns: Sequence[_Column], cells: Codes, units: Codes, resamples: int, seed: int
) -> list[Floats]:
    """Every metric of every value in every resample of units, `(resamples, values, 3)` for each column."""
    rng, count = np.random.default_rng(seed), int(units.max(initial=-1)) + 1
    keys = [_keys(column, cells) for column in columns]
    found = [np.empty((resamples, len(column.values), len(SLICE_METRICS))) for column in columns]
    for i in range(resamples if columns else 0):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        weights = drawn[units].astype(np.float64)
        for column, own, values in zip(columns, keys, found, strict=True):
            values[i] = _stack(_confusions(column, own, weights))
    return found


def _describe(
    column: _Column, scores: Floats, resampled: Floats, hits: NDArray[np.bool_], units: Codes
) -> dict[str, dict[str, float]]:
    """The table of a column: a row for each value."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    table = {}
    for i, value in enumerate(column.values):
        row: dict[str, float] = {"n": int(counts[i]), "units": int(column.units[i])}
        enough = column.units[i] >= MIN_IDENTITIES
        for j, name in enumerate(SLICE_METRICS):
            row[name] = float(scores[i, j])
            row[f"{name}_low"], row[f"{name}_high"] = (
                _interval(resampled[:, i, j]) if enough else (math.nan, math.nan)
            )
        if enough and scores[i, 0] in (0, 1):  # resamples of nothing but hits show no doubt
            rows = column.codes == i
            rate = measure_rate(hits[rows], units[rows])
            row["accuracy_low"], row["accuracy_high"] = rate.low, rate.high
        table[value] = row
    return table


def _interval(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() == finite.max():
        return math.nan, math.nan
    low, high = np.percentile(finite, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


@dataclass(frozen=True)
class _Compared:
    """Slices of a column by one metric: names, units and scores `(s,)`, deviations from them `(r, s)`."""

    column: str
    names: tuple[str, ...]
    units: Codes
    scores: Floats
    deviations: Floats

    def pairs(self) -> Iterator[tuple[Floats, Floats]]:
        """Deviations of the differences `(r, k)` and their standard errors `(k,)`, of every pair once."""
        for i in range(len(self.names) - 1):
            differences = self.deviations[:, i : i + 1] - self.deviations[:, i + 1 :]
            yield differences, differences.std(axis=0)

    def largest(self) -> Floats:
        """Largest studentized difference of each resample, `(r,)`."""
        return np.asarray(np.max([find_largest(*pair) for pair in self.pairs()], axis=0))


def _find_gaps(
    columns: Sequence[_Column], scores: Sequence[Floats], resampled: Sequence[Floats]
) -> tuple[tuple[SliceGap, ...], dict[str, int]]:
    """The gaps of every metric, and how many pairs of slices were compared by each."""
    gaps: list[SliceGap] = []
    comparisons = {}
    for j, metric in enumerate(SLICE_METRICS):
        pairs = zip(columns, scores, resampled, strict=True)
        found = [c for item in pairs if (c := _compare(item[0], item[1][:, j], item[2][:, :, j]))]
        if found:
            largest = np.max([compared.largest() for compared in found], axis=0)
            gaps += [_find_gap(compared, metric, largest) for compared in found]
            comparisons[metric] = sum(math.comb(len(c.names), 2) for c in found)
    return tuple(gaps), comparisons


def _compare(column: _Column, scores: Floats, resampled: Floats) -> _Compared | None:
    """The slices of a column that can be compared; None where there are less than two."""
    kept = np.flatnonzero(column.compared() & np.isfinite(scores))
    if len(kept) < 2:
        return None
    deviations = resampled[:, kept] - scores[kept]
    # a metric that a resample does not define there adds nothing to the error
    deviations = np.where(np.isfinite(deviations), deviations, 0.0)
    names = tuple(column.values[i] for i in kept.tolist())
    return _Compared(column.name, names, column.units[kept], scores[kept], deviations)


def _find_gap(compared: _Compared, metric: str, largest: Floats) -> SliceGap:
    best, worst = int(np.argmax(compared.scores)), int(np.argmin(compared.scores))
    gap = float(compared.scores[best] - compared.scores[worst])
    error = float((compared.deviations[:, best] - compared.deviations[:, worst]).std())
    freedom = int(min(compared.units[best], compared.units[worst])) - 1
    found = bound_difference(gap, error, largest, freedom)
    names = compared.names
    return SliceGap(
        compared.column, metric, names[best], names[worst], gap, found.low, found.high, found.p_value,
        len(names),
    )  # fmt: skip


def _decade(age: str) -> str:
    try:
        start = int(float(age)) // 10 * 10
    except (ValueError, OverflowError):
        return NOT_GIVEN
    return f"{start}-{start + 9}"


def _natural(value: str) -> tuple[float, str]:
    """Sort '10-19' after '0-9', and what has no leading number behind what has one."""
    head = value.split("-")[0]
    return (float(head) if head.isdecimal() else math.inf, value)
