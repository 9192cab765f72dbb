from dataclasses import replace

import numpy as np
import pytest
import years_calibration as tool

from threeages.errors import DataError
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.thresholds import measure_thresholds
from threeages.evaluation.unseen import name_source
from threeages.evaluation.years import (
    YearsCalibration,
    describe_years,
    format_distribution,
    measure_years_calibration,
    parse_distribution,
    read_distributions,
)
from threeages.inference.brackets import rescale_years
from threeages.signature import Signature


def make_table(n: int = 600, temperature: float = 1.0, seed: int = 0) -> PredictionTable:
    """Distributions over years whose logits are `temperature` times those that the ages are drawn by."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(15, 70, n)
    years = np.exp(-0.5 * ((np.arange(101) - centre[:, None]) / 8) ** 2)
    years /= years.sum(axis=1, keepdims=True)
    ages = [rng.choice(101, p=row) for row in years]
    sharp = rescale_years(years, 1 / temperature)
    columns = {
        "identity": tuple(f"p{i // 2}" for i in range(n)),
        "age": tuple(map(str, ages)),
        "predicted_age": tuple(f"{value:.1f}" for value in sharp @ np.arange(101)),
        "source": tuple("abc"[i % 3] for i in range(n)),
        **describe_years(map(format_distribution, sharp)),
    }
    labels = np.searchsorted([31, 51], ages, side="right")
    probs = np.eye(3)[labels]
    return PredictionTable(tuple(map(str, range(n))), labels, ("ok",) * n, probs, probs.max(1), columns)


def test_a_distribution_comes_back_from_its_text() -> None:
    years = np.zeros(101)
    years[[17, 18, 20]] = 0.25, 0.7, 0.05
    assert format_distribution(years) == "17: 25000 70000 0 5000"
    np.testing.assert_allclose(parse_distribution("17: 25000 70000 0 5000"), years, atol=6e-3)
    assert parse_distribution("100: 100000")[0] > 0  # nothing is impossible
    for year in (0, 100):
        assert parse_distribution(format_distribution(np.eye(101)[year])).argmax() == year


@pytest.mark.parametrize("text", ["17", "17:", "x: 3", "3: a", "-1: 3", "100: 1 1", "5: -2", "5: 0"])
def test_what_is_no_distribution_is_named_with_its_image(text: str) -> None:
    table = make_table(3)
    table = replace(table, columns=table.columns | {"age_distribution": ("", text, "")})
    with pytest.raises(DataError, match=r"^1: The age_distribution is"):
        read_distributions(table)


def test_rows_are_calibrated_by_their_own_temperature() -> None:
    table = make_table(3)
    sharp = read_distributions(table)
    table = replace(table, columns=table.columns | {"years_temperature": ("", "1", "2.0")})
    found = read_distributions(table)
    np.testing.assert_allclose(found[:2], sharp[:2])
    np.testing.assert_allclose(found[2], rescale_years(sharp[2], 2.0))
    np.testing.assert_array_equal(read_distributions(table, calibrated=False), sharp)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    found = measure_years_calibration(make_table(temperature=temperature))
    assert found is not None
    assert found.n == 600
    assert found.temperature == pytest.approx(temperature, rel=0.15)
    if temperature != 1:
        assert found.nll < found.nll_before - 0.02
    else:
        assert found.nll == pytest.approx(found.nll_before, abs=0.01)


def test_the_temperature_is_measured_on_other_sources() -> None:
    table = make_table(temperature=1.5)
    by_source = measure_years_calibration(table, by="source")
    assert by_source is not None
    assert by_source.nll < by_source.nll_before
    assert measure_years_calibration(table.take(range(30))) is None  # 15 identities
    without = {k: v for k, v in table.columns.items() if k != "age_distribution"}
    assert measure_years_calibration(replace(table, columns=without)) is None


def test_thresholds_store_the_temperature() -> None:
    report = measure_thresholds(make_table(temperature=1.5))
    assert report.years is not None
    assert report.apply(Signature("x", 8)).years_temperature == report.years.temperature > 1.3
    plain = make_table()
    columns = {k: v for k, v in plain.columns.items() if k != "age_distribution"}
    kept = measure_thresholds(replace(plain, columns=columns)).apply(Signature("x", 8, years_temperature=1.3))
    assert kept.years_temperature == 1.3


def test_a_temperature_that_is_of_no_use_on_other_rows_is_not_stored() -> None:
    assert YearsCalibration(9, 0.9, nll_before=3.31, nll=3.32).adopted == 1
    assert YearsCalibration(9, 0.9, nll_before=3.31, nll=3.30).adopted == 0.9


def test_columns_are_there_where_some_row_has_a_distribution() -> None:
    assert describe_years(["", ""]) == {}
    assert describe_years(["", "5: 1"]) == {"age_distribution": ("", "5: 1")}
    assert describe_years(["", "5: 1"], 1.5)["years_temperature"] == ("", "1.5")


def test_the_tool_measures_every_source_with_the_temperature_of_the_others() -> None:
    tables = [name_source(make_table(200, t, seed), str(seed)) for seed, t in enumerate((1.5, 1.5, 1.0))]
    rows = list(tool.measure_sources(tables))
    assert [row["held_out"] for row in rows] == ["0", "1", "2", "all"]
    assert float(rows[2]["temperature"]) > float(rows[0]["temperature"])  # both others are too sharp
    assert float(rows[2]["nll"]) > float(rows[2]["nll_before"])
    assert float(rows[0]["nll"]) < float(rows[0]["nll_before"])
