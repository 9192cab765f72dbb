import json

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.evaluate import evaluate
from threeages.evaluation.predictions import PredictionTable

KEYS = {
    "n",
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "mae_bins",
    "within_one",
    "qwk",
    "nll",
    "brier",
    "ece",
}


def _table(n=60, **columns):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    probs = rng.dirichlet((1, 1, 1), n) * 0.6 + 0.4 * np.eye(3)[labels]
    status = ["ok"] * n
    status[0], status[1] = "truncated", "missing"
    labels[2] = -1
    probs[:2] = np.nan
    paths = tuple(f"{i}.jpg" for i in range(n))
    return PredictionTable(paths, labels, tuple(status), probs, probs.max(1), columns)


def test_top_level_keys_and_plain_json():
    result = evaluate(_table(), resamples=50).to_dict()
    assert set(result) >= KEYS | {"per_class", "confidence_intervals", "failed", "slices"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    low, high = result["confidence_intervals"]["accuracy"]
    assert low < result["accuracy"] < high


def test_counts_what_failed_and_judges_the_rest():
    table = _table()
    result = evaluate(table, resamples=10)
    assert (result.n, result.n_failed) == (57, 3)
    assert result.failed == {"missing": 1, "no_label": 1, "truncated": 1}
    assert result.confusion.sum() == 57
    assert result.metrics["accuracy"] == (table.probs[3:].argmax(1) == table.labels[3:]).mean()


def test_intervals_are_by_person_where_persons_are_known():
    assert evaluate(_table(), resamples=10).unit == "image"
    people = evaluate(_table(identity=tuple(str(i % 6) for i in range(60))), resamples=10)
    assert (people.unit, people.units) == ("identity", 6)
    failed_only = ("a", *[""] * 59)  # the only known person is on a row that failed
    assert evaluate(_table(identity=failed_only), resamples=10).unit == "image"


def test_slices_by_small_columns_and_age_decade():
    gender = tuple(("MALE", "FEMALE", "")[i % 3] for i in range(60))
    age = ("x", "y", "z", *(str(5 + i) for i in range(57)))
    table = _table(gender=gender, age=age, movie=tuple(map(str, range(60))), same=("1",) * 60)
    slices = evaluate(table, resamples=10).slices
    assert set(slices) == {"gender", "age_decade"}
    assert set(slices["gender"]) == {"MALE", "FEMALE", "(not given)"}
    assert list(slices["age_decade"]) == ["0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69"]
    assert slices["age_decade"]["0-9"]["n"] == 5
    rows = [i for i in range(3, 60) if gender[i] == "MALE"]
    expected = (table.probs[rows].argmax(1) == table.labels[rows]).mean()
    assert slices["gender"]["MALE"] == {
        "n": len(rows),
        "accuracy": expected,
        **{k: slices["gender"]["MALE"][k] for k in ("balanced_accuracy", "f1_macro")},
    }


def test_undefined_figures_are_null():
    probs = np.array([[0.0, 1.0, 0.0]])
    result = evaluate(PredictionTable(("a",), np.array([1]), ("ok",), probs, probs.max(1))).to_dict()
    assert result["qwk"] is None
    assert result["confidence_intervals"]["accuracy"] == [None, None]


def test_nothing_to_judge_says_why():
    probs = np.full((2, 3), np.nan)
    table = PredictionTable(("a", "b"), np.array([1, 2]), ("missing",) * 2, probs, probs[:, 0])
    with pytest.raises(DataError, match="missing: 2"):
        evaluate(table)
