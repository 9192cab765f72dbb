import csv
from pathlib import Path

import pytest

from threeages.studies.results import create_parser, format_markdown, save_rows, with_interval


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_says_where_it_was_measured(tmp_path: Path) -> None:
    save_rows(tmp_path / "r.csv", [{"n": "1"}, {"n": "2"}])
    rows = _read(tmp_path / "r.csv")
    assert [row["n"] for row in rows] == ["1", "2"]
    assert list(rows[0]) == ["n", "machine", "date", "commit"]
    assert all(row["machine"] and row["date"].startswith("20") for row in rows)


def test_rows_of_another_key_are_kept(tmp_path: Path) -> None:
    for model, value in (("a", "1"), ("b", "2"), ("a", "3")):
        save_rows(tmp_path / "r.csv", [{"model": model, "n": value}], ("model",))
    assert {(row["model"], row["n"]) for row in _read(tmp_path / "r.csv")} == {("b", "2"), ("a", "3")}


def test_cells_and_tables() -> None:
    assert with_interval("ece", 0.5, (0.25, 0.75)) == {
        "ece": "0.5000",
        "ece_low": "0.2500",
        "ece_high": "0.7500",
    }
    assert format_markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_a_study_writes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    parser = create_parser("What it does.", Path("results/x.csv"))
    assert parser.parse_args([]).out == Path("results/x.csv")
    assert parser.parse_args(["--out", "y.csv"]).out == Path("y.csv")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "What it does." in capsys.readouterr().out
