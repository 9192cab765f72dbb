import json
from dataclasses import replace

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance

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


def _table(n: int = 60, **columns: tuple[str, ...]) -> PredictionTable:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    probs = rng.dirichlet((1, 1, 1), n) * 0.6 + 0.4 * np.eye(3)[labels]
    status = ["ok"] * n
    status[0], status[1] = "truncated", "missing"
    labels[2] = -1
    probs[:2] = np.nan
    paths = tuple(f"{i}.jpg" for i in range(n))
    return PredictionTable(paths, labels, tuple(status), probs, probs.max(1), columns)


def test_top_level_keys_and_plain_json() -> None:
    result = evaluate_table(_table(), resamples=50).to_dict()
    assert set(result) >= KEYS | {
        "per_class",
        "confidence_intervals",
        "failed",
        "slices",
        "split",
        "seed",
        "notes",
    }
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    low, high = result["confidence_intervals"]["accuracy"]
    assert low < result["accuracy"] < high


def test_counts_what_failed_and_scores_the_rest() -> None:
    table = _table()
    result = evaluate_table(table, resamples=10)
    assert (result.n, result.n_failed) == (57, 3)
    assert result.failed == {"missing": 1, "no_label": 1, "truncated": 1}
    assert result.confusion.sum() == 57
    assert result.metrics["accuracy"] == (table.probs[3:].argmax(1) == table.labels[3:]).mean()


def test_intervals_are_by_identity_where_it_is_known() -> None:
    assert evaluate_table(_table(), resamples=10).unit == "image"
    known = evaluate_table(_table(identity=tuple(str(i % 6) for i in range(60))), resamples=10)
    assert (known.unit, known.units) == ("identity", 6)
    failed_only = ("a", *[""] * 59)  # the only known identity is on a row that failed
    assert evaluate_table(_table(identity=failed_only), resamples=10).unit == "image"


def test_slices_by_small_columns_and_age_decade() -> None:
    gender = tuple(("MALE", "FEMALE", "")[i % 3] for i in range(60))
    age = ("x", "y", "z", *(str(5 + i) for i in range(57)))
    table = _table(gender=gender, age=age, movie=tuple(map(str, range(60))), same=("1",) * 60)
    slices = evaluate_table(table, resamples=10).slices
    assert set(slices) == {"gender", "age_decade"}
    assert set(slices["gender"]) == {"MALE", "FEMALE", "(not given)"}
    assert list(slices["age_decade"]) == ["0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69"]
    assert slices["age_decade"]["0-9"]["n"] == 5
    rows = [i for i in range(3, 60) if gender[i] == "MALE"]
    expected = (table.probs[rows].argmax(1) == table.labels[rows]).mean()
    male = slices["gender"]["MALE"]
    assert (male["n"], male["units"], male["accuracy"]) == (len(rows), len(rows), expected)


def test_undefined_metrics_are_null() -> None:
    probs = np.array([[0.0, 1.0, 0.0]])
    result = evaluate_table(PredictionTable(("a",), np.array([1]), ("ok",), probs, probs.max(1))).to_dict()
    assert result["qwk"] is None
    assert result["confidence_intervals"]["accuracy"] == [None, None]


def test_a_table_without_a_scored_row_says_why() -> None:
    probs = np.full((2, 3), np.nan)
    table = PredictionTable(("a", "b"), np.array([1, 2]), ("missing",) * 2, probs, probs[:, 0])
    with pytest.raises(DataError, match="missing: 2"):
        evaluate_table(table)


def test_a_random_split_is_noted_beside_the_metrics() -> None:
    table = replace(_table(), provenance=Provenance("random", 42, 2))
    result = evaluate_table(table, resamples=10)
    assert result.notes == table.provenance.notes() != ()
    plain = result.to_dict()
    assert (plain["split"], plain["seed"], plain["leaked_duplicates"]) == ("random", 42, 2)
    assert plain["notes"] == list(result.notes)
    assert evaluate_table(_table(), resamples=10).to_dict()["notes"] == []


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((0,), "Every scored image is YOUNG: balanced accuracy, macro F1 and kappa are not defined"),
        ((0, 1), "No scored image is OLD: balanced accuracy and macro F1 are means over the other two"),
    ],
)
def test_absent_classes_are_said_and_give_no_zero(labels: tuple[int, ...], words: str) -> None:
    table = _table()
    table = table.take(np.flatnonzero(np.isin(table.labels, labels)))
    result = evaluate_table(table, resamples=20)
    assert any(words in note for note in result.notes)
    plain = result.to_dict()
    assert plain["per_class"]["OLD"]["recall"] is plain["per_class"]["OLD"]["f1"] is None
    assert (plain["balanced_accuracy"] is None) == (plain["f1_macro"] is None) == (len(labels) == 1)
    assert list(result.notes) == plain["notes"]


def test_a_full_table_has_no_note() -> None:
    assert evaluate_table(_table(age=("",) * 60), resamples=10).notes == ()


def test_rows_twice_odd_ages_and_contradictions_are_said() -> None:
    table = _table()
    ages = tuple("" if label < 0 else str((20, 40, 70)[label]) for label in table.labels)
    table = replace(table, columns={"age": ("abc", *ages[1:-1], "3" if table.labels[-1] else "99")})
    twice = table.take([*range(len(table)), 5])
    notes = " ".join(evaluate_table(twice, resamples=10).notes)
    assert "1 row repeats the path of another row" in notes
    assert "no number of years from 0 to 122 ('abc')" in notes
    assert "contradicts the age" in notes


def test_an_impossible_age_is_not_scored() -> None:
    table = _table(4, age=("20", "20", "900", "-4"), predicted_age=("30",) * 4)
    table = replace(table, labels=np.zeros(4, dtype=np.int64), status=("ok",) * 4, probs=np.eye(3)[[0] * 4])
    result = evaluate_table(table, resamples=10)
    assert result.years is not None
    assert (result.years["n"], result.years["mae"]) == (2, 10)


def test_an_age_known_as_a_range_alone_has_no_error() -> None:
    columns = {
        "age": ("20", "50", "60") * 5, "age_low": ("", "40", "") * 5, "age_high": ("", "60", "") * 5,
        "predicted_age": ("22", "10", "60") * 5, "predicted_low": ("10", "0", "50") * 5,
        "predicted_high": ("30", "20", "70") * 5,
    }  # fmt: skip
    probs = np.tile(np.eye(3), (5, 1))
    paths = tuple(map(str, range(15)))
    table = PredictionTable(paths, np.arange(15) % 3, ("ok",) * 15, probs, probs.max(axis=1), columns)
    years = evaluate_table(table).years
    assert years is not None
    assert {name: years[name] for name in ("n", "mae", "interval_coverage")} == {
        "n": 10, "mae": 1.0, "interval_coverage": 1.0
    }  # fmt: skip
    assert years["mae_low"] <= 1 <= years["mae_high"]


def _right(n: int, identities: int, labels: int = 3) -> PredictionTable:
    """Answers that are all right."""
    truth = np.arange(n) % labels
    columns = {"identity": tuple(f"p{i % identities}" for i in range(n))}
    probs = 0.1 + 0.7 * np.eye(3)[truth]
    return PredictionTable(tuple(map(str, range(n))), truth, ("ok",) * n, probs, probs.max(axis=1), columns)


def test_few_identities_are_said_to_be_too_few() -> None:
    result = evaluate_table(_right(40, 4), resamples=20)
    assert result.too_few
    said = "Too few to tell: 40 images of 4 identities were scored, and 10 identities or more are needed."
    assert result.notes == (said,)
    assert np.isnan(list(result.intervals.values())).all()
    assert result.to_dict()["confidence_intervals"]["accuracy"] == [None, None]
    nameless = replace(_right(3, 3), columns={})
    assert evaluate_table(nameless, resamples=20).notes[0] == (
        "Too few to tell: 3 images were scored, and 10 images or more are needed.")  # fmt: skip


def test_an_age_group_with_few_identities_is_named() -> None:
    table = _right(90, 30)
    labels = table.labels.copy()
    labels[labels == 2] = 1
    labels[[0, 30]] = 2
    notes = evaluate_table(replace(table, labels=labels), resamples=20).notes
    said = "OLD is measured on 2 images of 1 identity alone: too few to tell, as 10 or more are needed."
    assert notes == (said,)


def test_answers_that_are_all_right_are_no_certainty() -> None:
    result = evaluate_table(_right(300, 40), resamples=50)
    assert not result.too_few
    low, high = result.intervals["accuracy"]
    assert (low, high) == (pytest.approx(40 / (40 + 1.96**2), abs=1e-3), 1.0)
    assert result.intervals["within_one"] == (low, high)
    assert np.isnan(result.intervals["f1_macro"]).all()
    wrong = replace(_right(300, 40), labels=np.arange(300) % 3 * 0 + 2, probs=np.eye(3)[[0] * 300])
    assert evaluate_table(wrong, resamples=50).intervals["accuracy"] == pytest.approx((0, 1 - low))


def test_a_slice_whose_answers_are_all_right_is_no_certainty() -> None:
    table = _right(300, 75)
    table = replace(table, columns=table.columns | {"pose": tuple("ab"[i % 75 % 2] for i in range(300))})
    found = evaluate_table(table, resamples=20).slices["pose"]["a"]
    assert (found["accuracy"], found["accuracy_high"]) == (1.0, 1.0)
    assert found["accuracy_low"] == pytest.approx(38 / (38 + 1.96**2), abs=1e-3)
    assert np.isnan(found["f1_macro_low"])
