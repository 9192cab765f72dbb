import json
from dataclasses import replace

import age_thresholds as tool
import numpy as np
import pytest

from threeages.errors import ConfigError, DataError
from threeages.evaluation.age_thresholds import (
    NO_AGE_CHECK,
    describe_missing,
    evaluate_age_thresholds,
    least_units,
    parse_limits,
)
from threeages.evaluation.evaluate import AgeQuestions, evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.rates import measure_rate


def _table(ages: np.ndarray, expected: np.ndarray, **columns: tuple[str, ...]) -> PredictionTable:
    n = len(ages)
    labels = np.where(ages < 13, -1, 0)
    probs = np.eye(3)[np.zeros(n, dtype=int)]
    found = {"age": tuple(map(str, ages)), "predicted_age": tuple(map(str, expected))} | columns
    return PredictionTable(tuple(map(str, range(n))), labels, ("ok",) * n, probs, probs.max(1), found)


def _noisy(n: int = 3000, error: float = 4.0, seed: int = 0, **columns: tuple[str, ...]) -> PredictionTable:
    rng = np.random.default_rng(seed)
    ages = rng.integers(5, 45, n).astype(float)
    return _table(ages, np.maximum(ages + rng.normal(0, error, n), 0).round(1), **columns)


def test_rates_on_both_sides_of_a_limit() -> None:
    ages = np.array([10, 15, 17, 17.9, 18, 19, 40])
    expected = np.array([20, 17.9, 18, 10, 17, 25, 12])
    (found,) = evaluate_age_thresholds(_table(ages, expected), [18]).limits
    assert (found.false_acceptance.n, found.false_acceptance.rate) == (4, 0.5)  # those of 10 and of 17
    assert (found.false_acceptance_near.n, found.false_acceptance_near.rate) == (3, pytest.approx(1 / 3))
    assert (found.false_rejection.n, found.false_rejection.rate) == (3, pytest.approx(2 / 3))
    assert (found.false_rejection_near.n, found.false_rejection_near.rate) == (2, 0.5)
    assert found.accepted_by_year["17"].n == 2  # 17.9 is one of 17
    assert {year: rate.rate for year, rate in found.accepted_by_year.items()} == {
        "10": 1, "15": 0, "17": 0.5, "18": 0, "19": 1, "40": 0,
    }  # fmt: skip


def test_a_challenge_age_holds_with_its_whole_interval_there_and_above() -> None:
    table = _noisy()
    (found,) = evaluate_age_thresholds(table, [18], target_rates=(0.2, 0.05)).limits
    loose, strict = found.challenges
    assert loose.age is not None
    assert strict.age is not None
    assert 18 < loose.age < strict.age
    ages, expected = table.ages(), table.numbers("predicted_age")
    near = (ages >= 14) & (ages < 18)
    for challenge in (loose, strict):
        assert challenge.false_acceptance_near.rate == (expected[near] >= challenge.age).mean()
        assert challenge.false_acceptance_near.high <= challenge.target_rate
        assert challenge.false_rejection.rate == (expected[ages >= 18] < challenge.age).mean()
    lower = (expected[near] >= loose.age - 1).mean()
    assert lower > 0.2 - 0.05  # no lower age would do
    assert strict.false_rejection.rate > loose.false_rejection.rate


def test_too_few_faces_ask_for_no_challenge_age() -> None:
    table = _noisy(200)  # 0 of some 20 faces is no rate below 1 %
    (found,) = evaluate_age_thresholds(table, [18], target_rates=(0.01,)).limits
    assert found.challenges[0].age is None
    assert np.isnan(found.challenges[0].false_rejection.rate)


def test_intervals_are_by_identity() -> None:
    many = _noisy()
    few = replace(many, columns=many.columns | {"identity": tuple(f"p{i % 60}" for i in range(3000))})
    by_image, by_identity = (evaluate_age_thresholds(table, [18]) for table in (many, few))
    assert (by_image.units, by_identity.units) == (3000, 60)
    assert by_identity.limits[0].false_acceptance.units == 60


def test_slices_of_enough_identities_hold_at_once() -> None:
    kinds = tuple("few" if i < 60 else "ab"[i % 2] for i in range(3000))
    (found,) = evaluate_age_thresholds(_noisy(kind=kinds), [18]).limits
    assert set(found.slices) == {"kind"}
    assert set(found.slices["kind"]) == {"a", "b"}
    rate = found.slices["kind"]["a"]["false_acceptance_near"]
    (alone,) = evaluate_age_thresholds(_noisy(kind=kinds).where("kind", "a"), [18]).limits
    assert rate.rate == alone.false_acceptance_near.rate
    assert rate.low < alone.false_acceptance_near.low < alone.false_acceptance_near.high < rate.high


def test_ranges_of_ages_and_failed_rows_count_nowhere() -> None:
    table = _table(np.array([17.0, 17, 17, 19]), np.array([20.0, 20, 20, 20]), age_low=("", "10", "", ""))
    table = replace(table, status=("ok", "ok", "missing", "ok"))
    found = evaluate_age_thresholds(table, [18])
    assert (found.n, found.limits[0].false_acceptance.n) == (2, 1)
    with pytest.raises(DataError, match="both a true and a predicted age"):
        evaluate_age_thresholds(replace(table, columns={}), [18])


def test_what_is_no_limit_and_no_rate_is_refused() -> None:
    assert parse_limits("21,18,18") == (18, 21)
    for text in ("", "x", "0", "101", "18.5"):
        with pytest.raises(ConfigError, match="limits of age"):
            parse_limits(text)
    with pytest.raises(ConfigError, match="target rates"):
        evaluate_age_thresholds(_noisy(100), [18], target_rates=(1.5,))


def test_metrics_json_says_that_it_makes_no_age_check() -> None:
    plain = evaluate_table(_noisy(400), resamples=10, ages=AgeQuestions(limits=(18,))).to_dict()
    found = json.loads(json.dumps(plain, allow_nan=False))["age_thresholds"]
    assert found["note"] == NO_AGE_CHECK
    assert "no age check" in NO_AGE_CHECK
    assert found["limits"][0]["limit"] == 18


def test_the_tool_measures_a_source_at_the_challenge_age_of_the_others() -> None:
    sources = tuple("ab"[i % 2] for i in range(3000))
    easy, hard = _noisy(error=2.0), _noisy(error=8.0)
    expected = [(easy, hard)[i % 2].columns["predicted_age"][i] for i in range(3000)]
    columns = easy.columns | {"predicted_age": tuple(expected), "held_out": sources}
    table = replace(easy, columns=columns)
    rows = list(tool.measure_set(table, (18,)))
    assert {row["source"] for row in rows} == {"all", "a", "b"}
    others = [r for r in rows if r["chosen_on"] == "the other sources" and r["measure"] == "false_acceptance"]
    missed = {(r["source"], r["target"]): float(r["rate"]) > float(r["target"]) for r in others}
    assert missed["b", "0.1"]  # what the easy source asks for is too little for the hard one
    assert not missed["a", "0.1"]


def test_the_tool_scores_brackets() -> None:
    whole, first, *rest = tool.measure_brackets(_noisy())
    assert (whole["bracket"], whole["n"], first["bracket"], len(rest)) == ("all", "3000", "0-12", 4)
    assert float(whole["accuracy_low"]) < float(whole["accuracy"]) < float(whole["accuracy_high"])
    assert float(first["recall"]) > 0.8


def test_where_no_challenge_age_is_found_it_says_how_many_identities_are_needed() -> None:
    table = _noisy(200)
    (found,) = evaluate_age_thresholds(table, [18], target_rates=(0.3, 0.02, 0.01)).limits
    near = found.false_acceptance_near
    assert list(describe_missing(found)) == [
        f"Limit 18: no challenge age up to 100 can be shown to meet the target 2.0%, 1.0%. The data hold "
        f"{near.n} images of {near.units} identities of 14 to 17 years. Even where none is accepted, these "
        "numbers of identities are needed: 189 for 2.0%, 381 for 1.0%."
    ]
    (old,) = evaluate_age_thresholds(table, [99], target_rates=(0.1,)).limits
    assert "The data hold no image of 95 to 98 years." in next(describe_missing(old))
    (met,) = evaluate_age_thresholds(_noisy(), [18], target_rates=(0.2,)).limits
    assert list(describe_missing(met)) == []


@pytest.mark.parametrize("target", [0.5, 0.1, 0.02])
def test_the_least_units_are_those_whose_interval_meets_the_target(target: float) -> None:
    n = least_units(target)
    high = [measure_rate(np.zeros(k, dtype=bool), np.arange(k)).high for k in (n - 1, n)]
    assert high[1] <= target < high[0]
