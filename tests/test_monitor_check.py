"""The check of the monitors, in small: its rows say what each stream came to."""

from pathlib import Path

import monitor_check
import numpy as np
import pytest

from threeages.evaluation.predictions import PredictionTable
from threeages.files.csvfiles import read_csv
from threeages.inference.records import OK

SMALL = {"RUN": 100, "BEFORE": 50, "REFERENCE": 100, "RISKS": (0.9,)}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(monitor_check, name, value)


def test_delays_count_from_the_change() -> None:
    same, changed = monitor_check.check_risk(8)
    assert (same["alarms"], same["median_delay"], int(same["microseconds"]) >= 0) == ("0.000", "", True)
    assert changed["alarms"] == "1.000"
    assert 0 < int(changed["median_delay"]) < 30
    drift = list(monitor_check.check_drift(8))
    assert [row["stream"] for row in drift][1:] == [f"from 50 on {name}" for name in monitor_check.DRIFTED]
    assert drift[1]["alarms"] == "1.000"


def test_a_source_at_which_the_others_threshold_fails_has_an_alarm() -> None:
    """The answers to `c` are sure and wrong, those to `a` and `b` sure and right."""
    rng = np.random.default_rng(0)
    held_out = np.repeat(["a", "b", "c"], 200)
    labels = rng.integers(0, 3, 600)
    wrong = (held_out == "c") & (rng.random(600) < 0.5)
    probs = np.full((600, 3), 0.01)
    probs[np.arange(600), np.where(wrong, (labels + 1) % 3, labels)] = 0.98
    columns = {"held_out": tuple(held_out.tolist())}
    table = PredictionTable(
        tuple(map(str, range(600))), labels, (OK,) * 600, probs, probs.max(axis=1), columns
    )
    rows = {(row["stream"], row["target"]): row for row in monitor_check.check_sources(table)}
    assert rows["c", "0.2"]["alarms"] == "1"
    assert int(rows["c", "0.2"]["median_delay"]) < 60
    assert all(row["alarms"] == "0" for (stream, _), row in rows.items() if stream != "c")


def test_the_table_in_the_repository_has_these_columns() -> None:
    table = read_csv(Path(__file__).parents[1] / "results" / "monitor.csv")
    assert table.columns == (*monitor_check.COLUMNS, "machine", "date", "commit")
