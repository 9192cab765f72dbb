"""When a model may answer: thresholds measured on people outside training, stored in its signature."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError
from threeages.evaluation.conformal import coverage_by_identity, interval_margin, set_threshold
from threeages.evaluation.metrics import Floats, identity_codes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.selective import error_threshold
from threeages.inference.sets import prediction_sets
from threeages.signature import Signature

ERROR_RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
COVERAGES = (0.8, 0.9, 0.95)
AGE_COVERAGE = 0.9
FOLDS = 5
MIN_PERSONS = 20  # fewer allow no coverage of 0.95 at all


@dataclass(frozen=True)
class ErrorMeasure:
    """A threshold for an error rate; `answered` and `error` are shares on persons it was not chosen on."""

    rate: float
    confidence: float
    answered: float
    error: float


@dataclass(frozen=True)
class SetMeasure:
    """A threshold for a coverage; `covered` is a mean over persons it was not chosen on, `size` over rows."""

    coverage: float
    probability: float
    covered: float
    size: float


@dataclass(frozen=True)
class ThresholdReport:
    """Everything measured; `age_margin` is None where the predictions hold no ages."""

    persons: int
    n: int
    errors: tuple[ErrorMeasure, ...]
    sets: tuple[SetMeasure, ...]
    age_margin: float | None

    def apply(self, signature: Signature) -> Signature:
        """The signature with these thresholds."""
        return replace(
            signature,
            error_thresholds=tuple((m.rate, m.confidence) for m in self.errors),
            set_thresholds=tuple((m.coverage, m.probability) for m in self.sets),
            age_margin=signature.age_margin if self.age_margin is None else self.age_margin,
        )


@dataclass(frozen=True)
class _Rows:
    labels: NDArray[np.int64]
    probs: Floats
    persons: NDArray[np.int64]

    def select(self, mask: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.labels[mask], self.probs[mask], self.persons[mask])


def measure_thresholds(table: PredictionTable, *, seed: int = 0) -> ThresholdReport:
    """Choose every threshold on all rows with a label and an answer, and measure it by cross-fitting.

    The rows must be of people outside training. A person is a value of `identity`; without that column each
    image counts as one, which is only right where no person has two. What stands in the report beside a
    threshold was measured in five folds of persons, each with the threshold that the other four gave.
    Rates and coverages that cannot be reached are left out. Raises DataError below 20 persons.
    """
    rows = table.scored()
    identities = table.identities()
    persons = np.arange(rows.sum()) if identities is None else identity_codes(identities[rows])
    data = _Rows(table.labels[rows], table.probs[rows], persons)
    n_persons = int(persons.max(initial=-1)) + 1
    if n_persons < MIN_PERSONS:
        raise DataError(
            f"The predictions hold {n_persons} persons with a label and an answer.",
            hint=f"Thresholds need {MIN_PERSONS} or more, named in the column identity.",
        )
    folds = (np.random.default_rng(seed).permutation(n_persons) % FOLDS)[persons]
    return ThresholdReport(
        n_persons,
        len(data.labels),
        tuple(e for rate in ERROR_RATES if (e := _measure_error(data, folds, rate))),
        tuple(m for share in COVERAGES if (m := _measure_set(data, folds, share))),
        _age_margin(table, rows, persons),
    )


def measure_answers(table: PredictionTable, signature: Signature) -> list[tuple[float, float]]:
    """The share of rows answered at each of the signature's error rates, and the error among those.

    Of a table that the thresholds were chosen on it is what `measure_thresholds` found on persons left out.
    The error is nan where nothing is answered.
    """
    try:
        report = measure_thresholds(table)
    except DataError:
        report = None
    if report and report.apply(signature).error_thresholds == signature.error_thresholds:
        return [(m.answered, m.error) for m in report.errors]
    rows = table.scored()
    confidence, wrong = table.confidence[rows], table.probs[rows].argmax(axis=1) != table.labels[rows]
    return [_shares(confidence >= bound, wrong) for _, bound in signature.error_thresholds]


def _measure_error(data: _Rows, folds: NDArray[Any], rate: float) -> ErrorMeasure | None:
    def choose(rows: _Rows) -> float | None:
        return error_threshold(rows.labels, rows.probs, rows.persons, rate)

    confidence = choose(data)
    if confidence is None:
        return None
    answered = data.probs.max(axis=1) >= _cross_fitted(data, folds, choose, otherwise=np.inf)
    wrong = data.probs.argmax(axis=1) != data.labels
    if not answered.any():
        return None
    return ErrorMeasure(rate, confidence, *_shares(answered, wrong))


def _shares(answered: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of rows answered, and of those the share that is wrong; nan without any."""
    return float(answered.mean()), float(wrong[answered].mean()) if answered.any() else math.nan


def _measure_set(data: _Rows, folds: NDArray[Any], coverage: float) -> SetMeasure | None:
    def choose(rows: _Rows) -> float:
        return set_threshold(rows.labels, rows.probs, rows.persons, coverage)

    probability = choose(data)
    if probability == 0:
        return None
    inside = prediction_sets(data.probs, _cross_fitted(data, folds, choose, otherwise=0.0))
    covered = coverage_by_identity(data.labels, inside, data.persons).mean()
    return SetMeasure(coverage, probability, float(covered), float(inside.sum(axis=1).mean()))


def _cross_fitted(
    data: _Rows, folds: NDArray[Any], choose: Callable[[_Rows], float | None], *, otherwise: float
) -> Floats:
    """Threshold of each row `(n,)`, chosen on the persons of the other folds."""
    thresholds = np.full(len(folds), otherwise)
    for fold in range(FOLDS):
        chosen = choose(data.select(folds != fold))
        thresholds[folds == fold] = otherwise if chosen is None else chosen
    return thresholds


def _age_margin(table: PredictionTable, rows: NDArray[np.bool_], persons: NDArray[np.int64]) -> float | None:
    age, low, high = (table.numbers(name)[rows] for name in ("age", "predicted_low", "predicted_high"))
    known = np.isfinite(age) & np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return None
    margin = interval_margin(age[known], low[known], high[known], persons[known], AGE_COVERAGE)
    return round(margin, 2) if np.isfinite(margin) else None
