import json

import numpy as np
import pytest
from numpy.typing import NDArray

from threeages.evaluation import metrics
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.slices import MIN_IDENTITIES, SliceAudit, audit_slices


def _answers(right: NDArray[np.floating], seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and probs of rows, each right with the probability given."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=len(right))
    wrong = rng.random(len(right)) >= right
    return labels, np.eye(3)[(labels + wrong) % 3]


def _audit(
    columns: dict[str, NDArray[np.str_]], right: float | NDArray[np.floating], seed: int = 0
) -> SliceAudit:
    n = len(next(iter(columns.values())))
    labels, probs = _answers(np.broadcast_to(right, n), seed)
    cells = {name: values.tolist() for name, values in columns.items()}
    return audit_slices(cells, labels, probs, None, resamples=200)


def test_a_slice_has_its_metrics_and_the_interval_of_its_own_rows() -> None:
    gender = np.array(["F", "M"])[np.arange(400) % 2]
    labels, probs = _answers(np.full(400, 0.7))
    units = (np.arange(400) // 2).astype(str)
    found = audit_slices({"gender": gender.tolist()}, labels, probs, units, resamples=400).slices["gender"][
        "F"
    ]
    rows = gender == "F"
    assert (found["n"], found["units"]) == (200, 200)
    expected = metrics.summarize(labels[rows], probs[rows])
    bounds = metrics.bootstrap_by_identity(labels[rows], probs[rows], units[rows], n=400)
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert found[name] == expected[name]
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx(bounds[name], abs=0.02)


def test_few_identities_have_no_interval_and_are_not_compared() -> None:
    values = np.array(["few"] * (MIN_IDENTITIES - 1) + ["many"] * 200 + ["more"] * 200)
    right = np.where(values == "few", 0.0, 0.8)
    audit = _audit({"kind": values}, right)
    few = audit.slices["kind"]["few"]
    assert (few["accuracy"], few["units"]) == (0, MIN_IDENTITIES - 1)
    assert np.isnan(few["accuracy_low"])
    assert audit.too_small == {"kind": 1}
    assert {name for gap in audit.gaps for name in (gap.best, gap.worst)} <= {"many", "more"}
    assert audit.comparisons["accuracy"] == 1


def test_a_true_gap_is_found_and_named() -> None:
    values = np.array(["a", "b", "c"])[np.arange(900) % 3]
    audit = _audit({"kind": values}, np.where(values == "b", 0.6, 0.9))
    (gap,) = (gap for gap in audit.gaps if gap.metric == "accuracy")
    assert gap.worst == "b"
    assert 0 < gap.low < gap.gap < gap.high
    assert gap.p_value < 0.01
    assert (gap.column, gap.slices, audit.comparisons["accuracy"]) == ("kind", 3, 3)


def test_the_correction_holds_where_every_slice_is_as_good() -> None:
    """Of many slices without a difference the best and the worst differ; the corrected interval says so."""
    found = corrected = 0
    for seed in range(20):
        values = np.random.default_rng(seed).permutation(np.arange(1200) % 15).astype(str)
        audit = _audit({"kind": values}, 0.8, seed)
        gap = next(gap for gap in audit.gaps if gap.metric == "accuracy")
        rows = [audit.slices["kind"][name] for name in (gap.best, gap.worst)]
        found += rows[0]["accuracy_low"] > rows[1]["accuracy_high"]  # two intervals that do not overlap
        corrected += gap.low > 0
    assert corrected <= 2
    assert found > corrected


def test_a_slice_that_shares_identities_is_compared_as_they_were_drawn() -> None:
    """A gap between two poses of the same identities is surer than one between different identities."""
    pose = np.array(["FRONT", "SIDE"])[np.arange(400) % 2]
    easy = np.repeat(np.random.default_rng(0).random(200), 2)  # right for some identities, wrong for others
    labels = np.arange(400) % 3
    wrong = np.where(pose == "SIDE", easy < 0.5, easy < 0.3)
    probs = np.eye(3)[(labels + wrong) % 3]
    same = (np.arange(400) // 2).astype(str)
    paired, apart = (
        next(gap for gap in audit_slices({"pose": pose.tolist()}, labels, probs, units).gaps)
        for units in (same, None)
    )
    assert paired.gap == apart.gap
    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)


def test_pairs_of_columns_hold_slices_of_enough_identities_alone() -> None:
    gender = np.array(["F", "M"])[np.arange(600) % 2]
    age = np.where(np.arange(600) < 580, "young", "old")
    audit = _audit({"gender": gender, "kind": age, "film": gender}, 0.8)
    assert set(audit.pairs) == {"gender & kind", "kind & film"}  # film follows from gender
    assert set(audit.pairs["gender & kind"]) == {"F & young", "M & young"}
    assert audit.too_small["gender & kind"] == 2
    assert audit.pairs["gender & kind"]["F & young"]["n"] == 290
    assert {gap.column for gap in audit.gaps} == {"gender", "film", "gender & kind", "kind & film"}


def test_what_is_not_given_is_shown_and_not_compared() -> None:
    values = np.array(["", "a", "b"])[np.arange(600) % 3]
    audit = _audit({"kind": values}, np.where(values == "", 0.1, 0.8))
    assert "(not given)" in audit.slices["kind"]
    assert all("(not given)" not in (gap.best, gap.worst) for gap in audit.gaps)
    assert audit.comparisons["accuracy"] == 1


def test_slices_without_any_difference_between_resamples_have_no_interval() -> None:
    audit = _audit({"kind": np.array(["a", "b"])[np.arange(200) % 2]}, 1.0)
    gap = audit.gaps[0]
    assert gap.gap == 0
    assert np.isnan([gap.low, gap.high, gap.p_value]).all()


def test_metrics_json_holds_pairs_gaps_and_the_least_number_of_identities() -> None:
    labels, probs = _answers(np.full(400, 0.8))
    columns = {
        "gender": tuple("FM"[i % 2] for i in range(400)),
        "pose": tuple(("FRONT", "LEFT", "RIGHT")[i % 3] for i in range(400)),
        "age_distribution": tuple(("1: 9", "2: 9")[i % 2] for i in range(400)),
    }
    paths = tuple(map(str, range(400)))
    table = PredictionTable(paths, labels, ("ok",) * 400, probs, probs.max(1), columns)
    plain = evaluate_table(table, resamples=50).to_dict()
    json.dumps(plain, allow_nan=False)
    assert set(plain["slices"]) == {"gender", "pose"}
    assert list(plain["slice_pairs"]) == ["gender & pose"]
    gaps = plain["slice_gaps"]
    assert (gaps["min_identities"], gaps["level"]) == (MIN_IDENTITIES, 0.95)
    assert gaps["comparisons"]["accuracy"] == 1 + 3 + 15
    assert {gap["column"] for gap in gaps["gaps"]} == {"gender", "pose", "gender & pose"}
