import json
from dataclasses import replace

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.brackets import FROM_AGE, FROM_DISTRIBUTION, evaluate_brackets
from threeages.evaluation.evaluate import AgeQuestions, evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.years import describe_years, format_distribution
from threeages.inference.brackets import Brackets

BRACKETS = Brackets((0, 18, 30, 50))


def _table(n: int = 200) -> PredictionTable:
    """Distributions over years, the ages drawn from them; children have no label."""
    rng = np.random.default_rng(0)
    centre = rng.uniform(5, 80, n)
    years = np.exp(-0.5 * ((np.arange(101) - centre[:, None]) / 4) ** 2)
    years /= years.sum(axis=1, keepdims=True)
    ages = np.array([rng.choice(101, p=row) for row in years])
    labels = np.where(ages < 13, -1, np.searchsorted([31, 51], ages, side="right"))
    columns = {
        "age": tuple(map(str, ages)),
        "predicted_age": tuple(f"{age:.1f}" for age in years @ np.arange(101)),
        **describe_years(map(format_distribution, years)),
    }
    probs = np.eye(3)[np.maximum(labels, 0)]
    return PredictionTable(tuple(map(str, range(n))), labels, ("ok",) * n, probs, probs.max(1), columns)


def test_brackets_are_scored_by_the_distribution_with_children_too() -> None:
    table = _table()
    found = evaluate_brackets(table, BRACKETS, resamples=100)
    assert (found.n, found.names, found.answer) == (200, ("0-17", "18-29", "30-49", "50+"), FROM_DISTRIBUTION)
    ages = table.ages()
    truth = BRACKETS.find(ages)
    assert found.confusion.shape == (4, 4)
    assert found.confusion.sum(axis=1).tolist() == np.bincount(truth, minlength=4).tolist()
    assert found.metrics["accuracy"] == np.trace(found.confusion) / 200
    assert found.metrics["ece"] < 0.1  # the ages were drawn from these distributions
    low, high = found.intervals["accuracy"]
    assert low < found.metrics["accuracy"] < high
    assert found.per_class["0-17"]["support"] == (ages < 18).sum()
    assert found.temperatures == (1.0,)


def test_without_distributions_the_expected_age_answers_and_nothing_is_said_of_probabilities() -> None:
    table = _table()
    columns = {k: v for k, v in table.columns.items() if k != "age_distribution"}
    found = evaluate_brackets(replace(table, columns=columns), BRACKETS, resamples=10)
    assert found.answer == FROM_AGE
    assert not {"nll", "brier", "ece"} & (found.metrics.keys() | found.intervals.keys())
    right = BRACKETS.find(table.ages()) == BRACKETS.find(table.numbers("predicted_age"))
    assert found.metrics["accuracy"] == right.mean()
    assert found.reliability == []


def test_the_models_temperature_is_applied_and_said() -> None:
    table = _table()
    sharp = evaluate_brackets(table, BRACKETS, resamples=10)
    columns = table.columns | {"years_temperature": ("4.0",) * 200}
    wide = evaluate_brackets(replace(table, columns=columns), BRACKETS, resamples=10)
    assert wide.temperatures == (4.0,)
    assert wide.metrics["nll"] > sharp.metrics["nll"]


def test_no_age_is_an_error_that_names_the_columns() -> None:
    table = _table(5)
    for columns in ({}, {"age": ("30",) * 5}, {"predicted_age": ("30",) * 5}):
        with pytest.raises(DataError, match="both a true and a predicted age") as caught:
            evaluate_brackets(replace(table, columns=columns), BRACKETS)
        assert "predicted_age" in caught.value.hint


def test_an_evaluation_holds_them_only_where_they_were_asked_for() -> None:
    asked = evaluate_table(_table(), resamples=10, ages=AgeQuestions(BRACKETS)).to_dict()
    assert json.loads(json.dumps(asked, allow_nan=False))["brackets"]["names"] == list(BRACKETS.names)
    assert not {"brackets", "age_thresholds"} & evaluate_table(_table(), resamples=10).to_dict().keys()
