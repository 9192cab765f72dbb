"""Thresholds of a model for target error rates and coverages, measured on held-out identities or sources."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, format_count
from threeages.evaluation.conformal import (
    compute_identity_weights,
    compute_interval_margin,
    find_set_threshold,
    measure_coverage_by_identity,
)
from threeages.evaluation.drift import AnswerHistogram
from threeages.evaluation.metrics import Floats, identity_codes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.rates import measure_rate
from threeages.evaluation.replay import create_histogram
from threeages.evaluation.selective import find_confidence_threshold
from threeages.evaluation.trained_on import check_held_out
from threeages.evaluation.years import YearsCalibration, measure_years_calibration
from threeages.inference.sets import prediction_sets
from threeages.signature import Signature

TARGET_ERRORS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
TARGET_COVERAGES = (0.8, 0.9, 0.95)
AGE_COVERAGE = 0.9
FOLDS = 5
Rule = Literal["worst", "mean"]
Parts = dict[str, tuple[float, float]]  # two measures by the name of a stratum
MIN_IDENTITIES = 20  # with fewer no coverage of 0.95 can be guaranteed


@dataclass(frozen=True)
class ErrorMeasure:
    """The confidence threshold for a target error rate.

    `coverage` is the share of rows with that confidence and `risk` the share of errors among them, both
    cross-fitted: measured on identities that the threshold was not chosen on. `parts` holds both by stratum.
    `risk_low` and `risk_high` are the ends of the risk's 95 % interval by identity; NaN with strata.
    """

    target_error: float
    confidence: float
    coverage: float
    risk: float
    parts: Parts = field(default_factory=dict)
    risk_low: float = math.nan
    risk_high: float = math.nan


@dataclass(frozen=True)
class SetMeasure:
    """The probability threshold for prediction sets of a target coverage.

    `coverage` is the mean over identities, `size` the mean number of age groups in a set over rows; both are
    cross-fitted. `parts` holds both by stratum.
    """

    target_coverage: float
    probability: float
    coverage: float
    size: float
    parts: Parts = field(default_factory=dict)


@dataclass(frozen=True)
class ThresholdReport:
    """All thresholds of a model; `age_margin` in years is None where the predictions hold no ages.

    `ages` holds by stratum the share of ages inside the intervals and their mean width in years, with the
    margin of the other strata. `years` is the temperature of the distribution over years, None where the
    predictions hold none. `reference` are the answers themselves, to find drift by.
    """

    identities: int
    n: int
    errors: tuple[ErrorMeasure, ...]
    sets: tuple[SetMeasure, ...]
    age_margin: float | None
    ages: Parts = field(default_factory=dict)
    years: YearsCalibration | None = None
    reference: AnswerHistogram | None = None

    def apply(self, signature: Signature) -> Signature:
        """The signature with these thresholds."""
        return replace(
            signature,
            error_thresholds=tuple((m.target_error, m.confidence) for m in self.errors),
            set_thresholds=tuple((m.target_coverage, m.probability) for m in self.sets),
            age_margin=signature.age_margin if self.age_margin is None else self.age_margin,
            years_temperature=signature.years_temperature if self.years is None else self.years.adopted,
        )


@dataclass(frozen=True)
class _Rows:
    labels: NDArray[np.int64]
    probs: Floats
    identities: NDArray[np.int64]
    strata: NDArray[np.str_] | None = None
    rule: Rule = "worst"

    def select(self, mask: NDArray[np.bool_]) -> "_Rows":
        strata = None if self.strata is None else self.strata[mask]
        return replace(
            self,
            labels=self.labels[mask],
            probs=self.probs[mask],
            identities=self.identities[mask],
            strata=strata,
        )

    def fitted_alone(self) -> list["_Rows"]:
        """The rows that thresholds are chosen on one by one: every stratum where the worst one counts."""
        return [self.select(mask) for mask in self.masks()]

    def masks(self) -> list[NDArray[np.bool_]]:
        """Masks `(n,)` of `fitted_alone`."""
        found = [mask for _, mask in self.parts()] if self.rule == "worst" else []
        return found or [np.ones(len(self.labels), dtype=np.bool_)]

    def weights(self) -> Floats | None:
        """Weight of each row, so that every stratum weighs the same; None without strata."""
        return None if self.strata is None else compute_identity_weights(None, len(self.labels), self.strata)

    def parts(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Name and mask `(n,)` of every stratum."""
        for name in () if self.strata is None else np.unique(self.strata).tolist():
            yield name, self.strata == name


def measure_thresholds(
    table: PredictionTable, *, by: str | None = None, rule: Rule = "worst", seed: int = 0
) -> ThresholdReport:
    """Choose every threshold on all scored rows and measure it by cross-fitting.

    The rows must be of held-out identities. Without the column `identity` each image counts as an identity,
    which is only right where no identity has two images. What the report says of a threshold was measured in
    five folds of identities, each with the threshold chosen on the other four. Targets that cannot be reached
    are absent. DataError below 20 identities, and where `check_held_out` refuses the rows.

    Rows of sources that their models never met can be told apart by a column `by`, such as `source`. What is
    said of one of its values was measured with the threshold chosen on the others. By the `rule` 'worst' a
    threshold reaches its target on every one of them: if they are exchangeable, a new source is worse than
    the worst of n with probability 1 / (n + 1). By 'mean' it does on average, each weighing the same;
    results/source-thresholds.csv compares both. DataError where the column has fewer than two values.
    """
    check_held_out(table, "Thresholds")
    rows = table.scored()
    known = table.identities()
    identities = np.arange(rows.sum()) if known is None else identity_codes(known[rows])
    data = _Rows(table.labels[rows], table.probs[rows], identities, _find_strata(table, by, rows), rule)
    count = int(identities.max(initial=-1)) + 1
    if count < MIN_IDENTITIES:
        raise DataError(
            f"The predictions hold {format_count(count, 'identity', 'identities')} with a label and an "
            "answer.",
            hint=f"Thresholds need {MIN_IDENTITIES} or more, named in the column identity.",
        )
    folds = (np.random.default_rng(seed).permutation(count) % FOLDS)[identities]
    if data.strata is not None:
        folds = identity_codes(data.strata)
    ages = _find_ages(table, rows, data)
    return ThresholdReport(
        count,
        len(data.labels),
        tuple(e for target in TARGET_ERRORS if (e := _measure_error(data, folds, target))),
        tuple(m for target in TARGET_COVERAGES if (m := _measure_set(data, folds, target))),
        _age_margin(ages),
        _age_parts(ages),
        measure_years_calibration(table, by=by, seed=seed),
        create_histogram(table),
    )


def _find_strata(table: PredictionTable, by: str | None, rows: NDArray[np.bool_]) -> NDArray[np.str_] | None:
    if by is None:
        return None
    cells = np.asarray(table.columns.get(by, ("",) * len(table)), dtype=np.str_)[rows]
    if len(np.unique(cells)) < 2 or "" in cells:
        raise DataError(
            f"The column {by} does not part the rows: each needs a value, and there must be two or more.",
            hint=f"Name one of {', '.join(table.columns)} with a value for each source held out.",
        )
    return cells


def measure_selective_risk(table: PredictionTable, signature: Signature) -> list[tuple[float, float]]:
    """(coverage, risk) of a table at each of the signature's confidence thresholds.

    On the table that the thresholds were chosen on they are the cross-fitted ones of `measure_thresholds`.
    The risk is NaN where the coverage is 0.
    """
    try:
        report = measure_thresholds(table)
    except DataError:
        report = None
    return find_selective_risk(table, signature, report)


def find_selective_risk(
    table: PredictionTable, signature: Signature, report: ThresholdReport | None
) -> list[tuple[float, float]]:
    """As `measure_selective_risk`; `report` is of `measure_thresholds`, None where it refused the table."""
    if report and report.apply(signature).error_thresholds == signature.error_thresholds:
        return [(m.coverage, m.risk) for m in report.errors]
    rows = table.scored()
    confidence, wrong = table.confidence[rows], table.probs[rows].argmax(axis=1) != table.labels[rows]
    return [_coverage_and_risk(confidence >= bound, wrong) for _, bound in signature.error_thresholds]


def _measure_error(data: _Rows, folds: NDArray[Any], target: float) -> ErrorMeasure | None:
    def choose(rows: _Rows) -> float | None:
        found = [
            find_confidence_threshold(part.labels, part.probs, part.identities, target, part.weights())
            for part in rows.fitted_alone()
        ]
        return None if None in found else max(bound for bound in found if bound is not None)

    confidence = choose(data)
    if confidence is None:
        return None
    covered = data.probs.max(axis=1) >= _cross_fitted(data, folds, choose, otherwise=np.inf)
    wrong = data.probs.argmax(axis=1) != data.labels
    if not covered.any():
        return None
    parts = {name: _coverage_and_risk(covered[part], wrong[part]) for name, part in data.parts()}
    whole = _coverage_and_risk(covered, wrong, data.weights())
    if data.strata is not None:
        return ErrorMeasure(target, confidence, *whole, parts)
    rate = measure_rate(wrong[covered], data.identities[covered])
    return ErrorMeasure(target, confidence, *whole, parts, rate.low, rate.high)


def _coverage_and_risk(
    covered: NDArray[np.bool_], wrong: NDArray[np.bool_], weights: Floats | None = None
) -> tuple[float, float]:
    """The share of rows that are covered, and the share of errors among those; NaN without any."""
    if not covered.any():
        return 0.0, math.nan
    chosen = None if weights is None else weights[covered]
    return float(np.average(covered, weights=weights)), float(np.average(wrong[covered], weights=chosen))


def _measure_set(data: _Rows, folds: NDArray[Any], target: float) -> SetMeasure | None:
    def choose(rows: _Rows) -> float:
        return min(
            find_set_threshold(part.labels, part.probs, part.identities, target, part.strata)
            for part in rows.fitted_alone()
        )

    probability = choose(data)
    if probability == 0:
        return None
    inside = prediction_sets(data.probs, _cross_fitted(data, folds, choose, otherwise=0.0))
    parts = {name: _coverage_and_size(data.select(part), inside[part]) for name, part in data.parts()}
    whole = np.mean(list(parts.values()), axis=0) if parts else _coverage_and_size(data, inside)
    return SetMeasure(target, probability, float(whole[0]), float(whole[1]), parts)


def _coverage_and_size(rows: _Rows, inside: NDArray[np.bool_]) -> tuple[float, float]:
    """The mean coverage over identities, and the mean number of age groups in a set over rows."""
    codes = identity_codes(rows.identities)
    coverage = measure_coverage_by_identity(rows.labels, inside, codes).mean()
    return float(coverage), float(inside.sum(axis=1).mean())


def _cross_fitted(
    data: _Rows, folds: NDArray[Any], choose: Callable[[_Rows], float | None], *, otherwise: float
) -> Floats:
    """Threshold of each row `(n,)`, chosen on the identities of the other folds."""
    thresholds = np.full(len(folds), otherwise)
    for fold in range(int(folds.max()) + 1):
        chosen = choose(data.select(folds != fold))
        thresholds[folds == fold] = otherwise if chosen is None else chosen
    return thresholds


@dataclass(frozen=True)
class _Ages:
    """Ages and the ends of their intervals in years, of the rows where they are known."""

    age: Floats
    low: Floats
    high: Floats
    rows: _Rows

    def select(self, mask: NDArray[np.bool_]) -> "_Ages":
        return _Ages(self.age[mask], self.low[mask], self.high[mask], self.rows.select(mask))

    def margin(self) -> float:
        return max(self.select(mask)._own_margin() for mask in self.rows.masks())

    def _own_margin(self) -> float:
        ends = (self.age, self.low, self.high)
        return compute_interval_margin(*ends, self.rows.identities, AGE_COVERAGE, self.rows.strata)

    def coverage_and_width(self, margin: float) -> tuple[float, float]:
        inside = (self.age >= self.low - margin) & (self.age <= self.high + margin)
        return float(inside.mean()), float((self.high - self.low + 2 * margin).mean())


def _find_ages(table: PredictionTable, rows: NDArray[np.bool_], data: _Rows) -> _Ages:
    ends = map(table.numbers, ("predicted_low", "predicted_high"))
    age, low, high = (values[rows] for values in (table.ages(), *ends))
    return _Ages(age, low, high, data).select(np.isfinite(age) & np.isfinite(low) & np.isfinite(high))


def _age_margin(ages: _Ages) -> float | None:
    margin = ages.margin() if len(ages.age) else np.inf
    return round(margin, 2) if np.isfinite(margin) else None


def _age_parts(ages: _Ages) -> Parts:
    """Coverage and mean width of each stratum's intervals, with the margin of the others."""
    found: Parts = {}
    for name, part in ages.rows.parts():
        others = ages.select(~part)
        if part.any() and len(others.age) and np.isfinite(margin := others.margin()):
            found[name] = ages.select(part).coverage_and_width(margin)
    return found
