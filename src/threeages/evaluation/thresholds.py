"""Thresholds of a model for target error rates and coverages, measured on held-out identities."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError
from threeages.evaluation.conformal import (
    compute_interval_margin,
    find_set_threshold,
    measure_coverage_by_identity,
)
from threeages.evaluation.metrics import Floats, identity_codes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.selective import find_confidence_threshold
from threeages.inference.sets import prediction_sets
from threeages.signature import Signature

TARGET_ERRORS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
TARGET_COVERAGES = (0.8, 0.9, 0.95)
AGE_COVERAGE = 0.9
FOLDS = 5
MIN_IDENTITIES = 20  # with fewer no coverage of 0.95 can be guaranteed


@dataclass(frozen=True)
class ErrorMeasure:
    """The confidence threshold for a target error rate.

    `coverage` is the share of rows with that confidence and `risk` the share of errors among them, both
    cross-fitted: measured on identities that the threshold was not chosen on.
    """

    target_error: float
    confidence: float
    coverage: float
    risk: float


@dataclass(frozen=True)
class SetMeasure:
    """The probability threshold for prediction sets of a target coverage.

    `coverage` is the mean over identities, `size` the mean number of age groups in a set over rows; both are
    cross-fitted.
    """

    target_coverage: float
    probability: float
    coverage: float
    size: float


@dataclass(frozen=True)
class ThresholdReport:
    """All thresholds of a model; `age_margin` in years is None where the predictions hold no ages."""

    identities: int
    n: int
    errors: tuple[ErrorMeasure, ...]
    sets: tuple[SetMeasure, ...]
    age_margin: float | None

    def apply(self, signature: Signature) -> Signature:
        """The signature with these thresholds."""
        return replace(
            signature,
            error_thresholds=tuple((m.target_error, m.confidence) for m in self.errors),
            set_thresholds=tuple((m.target_coverage, m.probability) for m in self.sets),
            age_margin=signature.age_margin if self.age_margin is None else self.age_margin,
        )


@dataclass(frozen=True)
class _Rows:
    labels: NDArray[np.int64]
    probs: Floats
    identities: NDArray[np.int64]

    def select(self, mask: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.labels[mask], self.probs[mask], self.identities[mask])


def measure_thresholds(table: PredictionTable, *, seed: int = 0) -> ThresholdReport:
    """Choose every threshold on all scored rows and measure it by cross-fitting.

    The rows must be of held-out identities. Without the column `identity` each image counts as an identity,
    which is only right where no identity has two images. What the report says of a threshold was measured in
    five folds of identities, each with the threshold chosen on the other four. Targets that cannot be reached
    are absent. DataError below 20 identities.
    """
    rows = table.scored()
    known = table.identities()
    identities = np.arange(rows.sum()) if known is None else identity_codes(known[rows])
    data = _Rows(table.labels[rows], table.probs[rows], identities)
    count = int(identities.max(initial=-1)) + 1
    if count < MIN_IDENTITIES:
        raise DataError(
            f"The predictions hold {count} identities with a label and an answer.",
            hint=f"Thresholds need {MIN_IDENTITIES} or more, named in the column identity.",
        )
    folds = (np.random.default_rng(seed).permutation(count) % FOLDS)[identities]
    return ThresholdReport(
        count,
        len(data.labels),
        tuple(e for target in TARGET_ERRORS if (e := _measure_error(data, folds, target))),
        tuple(m for target in TARGET_COVERAGES if (m := _measure_set(data, folds, target))),
        _age_margin(table, rows, identities),
    )


def measure_selective_risk(table: PredictionTable, signature: Signature) -> list[tuple[float, float]]:
    """(coverage, risk) of a table at each of the signature's confidence thresholds.

    On the table that the thresholds were chosen on they are the cross-fitted ones of `measure_thresholds`.
    The risk is NaN where the coverage is 0.
    """
    try:
        report = measure_thresholds(table)
    except DataError:
        report = None
    if report and report.apply(signature).error_thresholds == signature.error_thresholds:
        return [(m.coverage, m.risk) for m in report.errors]
    rows = table.scored()
    confidence, wrong = table.confidence[rows], table.probs[rows].argmax(axis=1) != table.labels[rows]
    return [_coverage_and_risk(confidence >= bound, wrong) for _, bound in signature.error_thresholds]


def _measure_error(data: _Rows, folds: NDArray[Any], target: float) -> ErrorMeasure | None:
    def choose(rows: _Rows) -> float | None:
        return find_confidence_threshold(rows.labels, rows.probs, rows.identities, target)

    confidence = choose(data)
    if confidence is None:
        return None
    covered = data.probs.max(axis=1) >= _cross_fitted(data, folds, choose, otherwise=np.inf)
    wrong = data.probs.argmax(axis=1) != data.labels
    return ErrorMeasure(target, confidence, *_coverage_and_risk(covered, wrong)) if covered.any() else None


def _coverage_and_risk(covered: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of rows that are covered, and the share of errors among those; NaN without any."""
    return float(covered.mean()), float(wrong[covered].mean()) if covered.any() else math.nan


def _measure_set(data: _Rows, folds: NDArray[Any], target: float) -> SetMeasure | None:
    def choose(rows: _Rows) -> float:
        return find_set_threshold(rows.labels, rows.probs, rows.identities, target)

    probability = choose(data)
    if probability == 0:
        return None
    inside = prediction_sets(data.probs, _cross_fitted(data, folds, choose, otherwise=0.0))
    coverage = measure_coverage_by_identity(data.labels, inside, data.identities).mean()
    return SetMeasure(target, probability, float(coverage), float(inside.sum(axis=1).mean()))


def _cross_fitted(
    data: _Rows, folds: NDArray[Any], choose: Callable[[_Rows], float | None], *, otherwise: float
) -> Floats:
    """Threshold of each row `(n,)`, chosen on the identities of the other folds."""
    thresholds = np.full(len(folds), otherwise)
    for fold in range(FOLDS):
        chosen = choose(data.select(folds != fold))
        thresholds[folds == fold] = otherwise if chosen is None else chosen
    return thresholds


def _age_margin(
    table: PredictionTable, rows: NDArray[np.bool_], identities: NDArray[np.int64]
) -> float | None:
    ends = map(table.numbers, ("predicted_low", "predicted_high"))
    age, low, high = (values[rows] for values in (table.ages(), *ends))
    known = np.isfinite(age) & np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return None
    margin = compute_interval_margin(age[known], low[known], high[known], identities[known], AGE_COVERAGE)
    return round(margin, 2) if np.isfinite(margin) else None
