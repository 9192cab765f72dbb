"""Evaluation of brackets of ages of the user's own, against the true ages."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, format_count
from threeages.evaluation import metrics
from threeages.evaluation.metrics import Floats
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.years import DISTRIBUTION, YEARS_TEMPERATURE, read_distributions
from threeages.inference.brackets import Brackets
from threeages.inference.records import OK

PROBABILISTIC = ("nll", "brier", "ece")  # metrics that say nothing of an answer without probabilities
FROM_DISTRIBUTION = "the most probable bracket of the distribution over years"
FROM_AGE = "the bracket of the expected age: the predictions hold no distribution over years"


@dataclass(frozen=True)
class BracketEvaluation:
    """How good brackets of ages are on the `n` rows whose age is one year.

    `metrics` are those of `metrics.summarize` with the brackets as classes, `intervals` their 95 % intervals
    by identity; without a distribution over years there are neither `nll`, `brier` nor `ece`. `answer` says
    what an answer is, `temperatures` those that calibrated the distributions (1: none). `confusion` is int64
    `(brackets, brackets)`, row the true bracket, column the predicted one.
    """

    names: tuple[str, ...]
    n: int
    answer: str
    temperatures: tuple[float, ...]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_class: dict[str, dict[str, float]]
    confusion: NDArray[np.int64]
    reliability: list[dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"confusion": self.confusion.tolist()}


def evaluate_brackets(
    table: PredictionTable, brackets: Brackets, *, resamples: int = 1000, seed: int = 0
) -> BracketEvaluation:
    """Score the brackets on every row with an answer and an age of one year, labelled or not.

    An answer is the most probable bracket, or that of the expected age where some row has no distribution
    over years. DataError where no row has both ages.
    """
    answered = np.asarray([status == OK for status in table.status])
    ages, predicted = table.ages(), table.numbers("predicted_age")
    years = read_distributions(table)
    rows = np.flatnonzero(answered & np.isfinite(ages) & (np.isfinite(predicted) | np.isfinite(years[:, 0])))
    if not len(rows):
        raise DataError(
            f"None of {format_count(len(table), 'prediction')} has both a true and a predicted age.",
            hint=f"Brackets need the column age with years, and predicted_age or {DISTRIBUTION}, which "
            "models with an output for years give.",
        )
    full = bool(np.isfinite(years[rows]).all())
    probs = brackets.probs(years[rows]) if full else _one_hot(brackets, predicted[rows])
    return _score(table.take(rows), brackets, probs, full, resamples, seed)


def _score(
    table: PredictionTable, brackets: Brackets, probs: Floats, full: bool, resamples: int, seed: int
) -> BracketEvaluation:
    labels, count = brackets.find(table.ages()), len(brackets.names)
    found = metrics.summarize(labels, probs, classes=count)
    identities = table.identities()
    intervals = metrics.bootstrap_by_identity(
        labels, probs, identities, n=resamples, seed=seed, classes=count
    )
    kept = [name for name in found if full or name not in PROBABILISTIC]
    return BracketEvaluation(
        brackets.names,
        len(table),
        FROM_DISTRIBUTION if full else FROM_AGE,
        _temperatures(table) if full else (),
        {name: found[name] for name in kept},
        {name: intervals[name] for name in kept},
        metrics.per_class(labels, probs, names=brackets.names),
        metrics.confusion_matrix(labels, probs, classes=count),
        metrics.reliability_bins(labels, probs, classes=count) if full else [],
    )


def _temperatures(table: PredictionTable) -> tuple[float, ...]:
    values = table.numbers(YEARS_TEMPERATURE)
    return tuple(sorted({1.0 if math.isnan(value) else value for value in values.tolist()}))


def _one_hot(brackets: Brackets, ages: Floats) -> Floats:
    """Probabilities `(n, brackets)` that are all on the bracket of each age."""
    return np.asarray(np.eye(len(brackets.names))[brackets.find(ages)], dtype=np.float64)
