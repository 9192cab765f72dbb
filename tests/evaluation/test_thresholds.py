import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import source_rules

from threeages.errors import ConfigError, DataError
from threeages.evaluation.conformal import find_set_threshold
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.evaluation.selective import find_confidence_threshold
from threeages.evaluation.thresholds import ThresholdReport, measure_selective_risk, measure_thresholds
from threeages.inference.predictor import load_predictor
from threeages.inference.runtime import OnnxModel, default_model_path, replace_signature
from threeages.inference.sets import prediction_sets
from threeages.signature import Signature


def make_table(identities: int = 100, images: int = 20) -> PredictionTable:
    """Calibrated answers: the label is sampled from the probabilities themselves."""
    rng = np.random.default_rng(0)
    n = identities * images
    probs = rng.dirichlet((0.5, 0.5, 0.5), n)
    labels = (rng.random((n, 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    age = rng.normal(40, 10, n)
    columns = {
        "identity": tuple(f"p{i // images}" for i in range(n)),
        "age": tuple(map(str, age)),
        "predicted_low": ("35.0",) * n,
        "predicted_high": ("45.0",) * n,
    }
    return PredictionTable(tuple(map(str, range(n))), labels, ("ok",) * n, probs, probs.max(axis=1), columns)


def test_thresholds_hold_on_held_out_identities() -> None:
    report = measure_thresholds(make_table())
    assert (report.identities, report.n) == (100, 2000)
    assert report.errors
    for error in report.errors:
        assert error.risk <= error.target_error + 0.02
    assert [s.target_coverage for s in report.sets] == [0.8, 0.9, 0.95]
    for measured in report.sets:
        assert measured.coverage >= measured.target_coverage - 0.01
    assert report.age_margin == pytest.approx(11.5, abs=1)


def test_coverage_and_risk_are_cross_fitted_where_the_thresholds_were_chosen() -> None:
    table = make_table()
    report = measure_thresholds(table)
    signature = report.apply(Signature("x", 8))
    assert measure_selective_risk(table, signature) == [(e.coverage, e.risk) for e in report.errors]
    others = table.take(np.arange(0, len(table), 2))
    wrong = others.probs.argmax(axis=1) != others.labels
    for (_, bound), (coverage, risk) in zip(
        signature.error_thresholds, measure_selective_risk(others, signature), strict=True
    ):
        sure = others.confidence >= bound
        assert (coverage, risk) == (sure.mean(), wrong[sure].mean())
    ((coverage, risk),) = measure_selective_risk(table, Signature("x", 8, error_thresholds=((0.1, 1.0),)))
    assert coverage == 0
    assert np.isnan(risk)


def test_few_identities_are_refused() -> None:
    with pytest.raises(DataError, match="12 identities"):
        measure_thresholds(make_table(identities=12))


def test_thresholds_travel_with_the_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(default_model_path(), path)
    report = measure_thresholds(make_table())
    signature = report.apply(OnnxModel(path).signature)
    replace_signature(path, signature)
    model = OnnxModel(path)
    assert model.signature == signature
    pixels = np.zeros((1, signature.input_size, signature.input_size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model.predict(pixels), OnnxModel(default_model_path()).predict(pixels))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (record,) = load_predictor(path, detect=False, max_error=0.1, coverage=0.9).predict([noise])
    assert record.status in {"ok", "uncertain"}
    assert record.age_set


def test_a_target_is_rounded_to_the_stricter_measured_one() -> None:
    signature = Signature(
        "x", 8, error_thresholds=((0.1, 0.9), (0.2, 0.6)), set_thresholds=((0.8, 0.3), (0.9, 0.2))
    )
    assert signature.confidence_for(0.15) == 0.9
    assert signature.confidence_for(0.5) == 0.6
    assert signature.probability_for(0.85) == 0.2
    for method, target in ((signature.confidence_for, 0.05), (signature.probability_for, 0.95)):
        with pytest.raises(ConfigError, match="no threshold"):
            method(target)
    with pytest.raises(ConfigError, match="threeages thresholds"):
        replace(signature, error_thresholds=()).confidence_for(0.1)
    assert Signature.from_json(signature.to_json()) == signature


def make_sources() -> PredictionTable:
    """Three sources of unequal size: the answers of the last one are surer than they are right."""
    table = make_table()
    rng = np.random.default_rng(1)
    source = np.repeat(["large", "small", "odd"], (1500, 250, 250))
    labels = np.where((source == "odd") & (rng.random(2000) < 0.5), rng.integers(3, size=2000), table.labels)
    return replace(table, labels=labels, columns=table.columns | {"source": tuple(source.tolist())})


def test_every_source_weighs_the_same_whatever_its_size() -> None:
    table = make_sources()
    plain, by = measure_thresholds(table), measure_thresholds(table, by="source", rule="mean")
    twice = table.take(np.concatenate([np.arange(2000), np.arange(1500)]))
    again = measure_thresholds(twice, by="source", rule="mean")  # more of the large source changes little
    assert {e.target_error: e.confidence for e in plain.errors}[0.2] < by_target(by, 0.2)
    assert by_target(again, 0.2) == pytest.approx(by_target(by, 0.2), abs=0.01)
    assert by.sets[1].probability < plain.sets[1].probability


def test_a_target_holds_on_the_worst_source_unless_their_mean_is_asked_for() -> None:
    table = make_sources()
    worst = measure_thresholds(table, by="source")
    mean = measure_thresholds(table, by="source", rule="mean")
    odd, *others = (table.where("source", name) for name in ("odd", "large", "small"))
    wrong = odd.probs.argmax(axis=1) != odd.labels
    assert wrong[odd.confidence >= by_target(mean, 0.3)].mean() > 0.3
    assert 0.3 not in {e.target_error for e in worst.errors}  # the odd source is that wrong when surest
    sets, on_average = worst.sets[0], mean.sets[0]
    assert sets.probability == _set_threshold(odd) < on_average.probability
    left_out = prediction_sets(odd.probs, min(map(_set_threshold, others)))
    assert sets.parts["odd"][1] == pytest.approx(left_out.sum(axis=1).mean())
    assert worst.age_margin is not None
    assert mean.age_margin is not None
    assert worst.age_margin > mean.age_margin


def test_the_confidence_for_a_target_is_that_of_the_source_that_asks_for_most() -> None:
    table = make_table()
    names = np.repeat(["plain", "other", "odd"], (1000, 500, 500))
    labels = np.where((names == "odd") & (np.arange(2000) % 10 == 0), (table.labels + 1) % 3, table.labels)
    table = replace(table, labels=labels, columns=table.columns | {"source": tuple(names.tolist())})
    found = by_target(measure_thresholds(table, by="source"), 0.25)
    alone = [
        find_confidence_threshold(t.labels, t.probs, t.identities(), 0.25)
        for t in (table.where("source", name) for name in ("plain", "other", "odd"))
    ]
    assert found == max(bound or 1.0 for bound in alone)
    assert found == alone[2]


def _set_threshold(table: PredictionTable) -> float:
    return find_set_threshold(table.labels, table.probs, table.identities(), 0.8)


def by_target(report: ThresholdReport, target: float) -> float:
    return {e.target_error: e.confidence for e in report.errors}[target]


def test_what_is_said_of_a_source_was_measured_with_thresholds_of_the_others() -> None:
    table = make_sources()
    report = measure_thresholds(table, by="source", rule="mean")
    odd = np.asarray(table.columns["source"]) == "odd"
    others = measure_thresholds(table.take(np.flatnonzero(~odd)), by="source", rule="mean")
    error = next(e for e in report.errors if e.target_error == 0.3)
    sure = odd & (table.confidence >= by_target(others, 0.3))
    wrong = table.probs.argmax(axis=1) != table.labels
    assert error.parts["odd"] == pytest.approx((sure.sum() / odd.sum(), wrong[sure].mean()))
    assert error.parts["odd"][1] > 0.35 > error.parts["large"][1]
    assert error.coverage == pytest.approx(np.mean([part[0] for part in error.parts.values()]))
    sets = report.sets[1]
    assert sets.parts["odd"][0] < 0.85 < sets.parts["large"][0]
    assert sets.coverage == pytest.approx(np.mean([part[0] for part in sets.parts.values()]))
    assert set(report.ages) == {"large", "small", "odd"}
    assert all(coverage == pytest.approx(0.9, abs=0.06) for coverage, _ in report.ages.values())
    assert not measure_thresholds(table).errors[0].parts


@pytest.mark.parametrize("column", ["colour", "one", "part"])
def test_a_column_that_does_not_part_the_rows_is_refused(column: str) -> None:
    table = make_table()
    columns = {"one": ("a",) * 2000, "part": ("a", "b", *("",) * 1998)}
    table = replace(table, columns=table.columns | columns)
    with pytest.raises(DataError, match=f"The column {column} does not part the rows"):
        measure_thresholds(table, by=column)


def test_the_comparison_of_rules_says_what_each_source_came_to(tmp_path: Path) -> None:
    table = make_sources()
    files = [tmp_path / name / "predictions.csv" for name in ("large", "small", "odd")]
    for file in files:
        file.parent.mkdir()
        save_predictions(table.where("source", file.parent.name), file)
    joined = source_rules.join_sources(files)
    for rule in ("mean", "worst"):
        report = measure_thresholds(table, by="source", rule=rule)
        rows = list(source_rules.compare_rule(rule, joined))
        coverage = next(r for r in rows if r[1:4] == ("coverage", "0.9", "odd"))
        assert coverage[4:] == (*(f"{v:.4f}" for v in report.sets[1].parts["odd"]), "False")
        assert all(len(row) == len(source_rules.HEADER) for row in rows)
        assert {row[1] for row in rows} >= {"coverage", "ages"}


def test_a_risk_of_nothing_is_no_certainty() -> None:
    table = make_table(identities=25, images=4)
    table = replace(table, labels=table.probs.argmax(axis=1))
    found = measure_thresholds(table).errors[-1]
    assert (found.risk, found.risk_low) == (0, 0)
    assert found.risk_high == pytest.approx(1.96**2 / (25 + 1.96**2), abs=0.01)
    parts = tuple("ab"[i % 2] for i in range(len(table)))
    apart = replace(table, columns=table.columns | {"source": parts})
    assert all(np.isnan(error.risk_high) for error in measure_thresholds(apart, by="source").errors)
