import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import DataError, MissingDependencyError
from threeages.evaluation import plots
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.mistakes import find_mistakes
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.report import add_result, write_full_report, write_report
from threeages.evaluation.report_parts import Report
from threeages.machine import describe_commit, describe_machine

FILES = {"metrics.json", "predictions.csv", "confusion.png", "reliability.png", "report.html"}


CARD = "---\nlicense: other\n---\n# A card"


def _table() -> PredictionTable:
    n = 40
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=n)
    probs = rng.dirichlet((1, 1, 1), n) * 0.5 + 0.5 * np.eye(3)[labels]
    columns = {
        "identity": tuple(str(i % 40) for i in range(n)),
        "<b>": tuple(f"<i>{i % 2}&" for i in range(n)),
    }
    status = ("<bad>", *["ok"] * (n - 1))
    probs[0] = np.nan
    return PredictionTable(tuple(f"{i}.jpg" for i in range(n)), labels, status, probs, probs.max(1), columns)


def test_writes_every_file(tmp_path: Path) -> None:
    table = _table()
    result = write_report(table, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result.to_dict()
    np.testing.assert_array_equal(load_predictions(tmp_path / "out" / "predictions.csv").probs, table.probs)


def test_without_matplotlib_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(_table(), tmp_path)

    def absent(_: object) -> None:
        raise MissingDependencyError("matplotlib", "plots")

    monkeypatch.setattr(plots, "plot_confusion", absent)
    monkeypatch.setattr(plots, "plot_reliability", absent)
    write_report(_table(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.json", "predictions.csv", "report.html"}
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<figure" not in text
    assert "No pictures: " in text


def test_without_jinja2_there_is_no_page_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_report(_table(), tmp_path)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    write_report(_table(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == FILES - {"report.html"}
    assert "threeages[report]" in caplog.text


def test_the_full_report_is_written_as_a_page_and_as_json(tmp_path: Path) -> None:
    table = _table()
    report = Report(evaluate_table(table), mistakes=find_mistakes(table), card=CARD)
    write_full_report(report, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "report.json"}
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["evaluation"] == report.evaluation.to_dict()
    assert [m["path"] for m in content["mistakes"]] == [m.path for m in report.mistakes]
    assert content["card"] == "# A card"


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="Cannot write"):
        write_report(_table(), tmp_path / "file" / "out")


def test_the_split_of_the_run_is_warned_of_on_the_page_and_in_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"config": {"split": "random"}, "split": {}}))
    result = write_report(_table(), tmp_path)
    (note,) = Provenance("random").notes()
    assert result.notes == (note,)
    assert f'<p class="warning">{note}</p>' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "metrics.json").read_text())["notes"] == [note]
    write_report(_table(), tmp_path / "other")
    assert 'class="warning"' not in (tmp_path / "other" / "report.html").read_text(encoding="utf-8")


def test_a_row_of_results_says_where_it_was_measured(tmp_path: Path) -> None:
    result = write_report(replace(_table(), provenance=Provenance("identity", 7)), tmp_path / "out")
    for name in ("a", "b", "a"):
        add_result(result, tmp_path / "results.csv", name)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["b", "a"]
    row = rows[0]
    assert (row["n"], row["units"], row["unit"], row["seed"]) == ("39", "39", "identity", "7")
    assert row["accuracy"] == f"{result.metrics['accuracy']:.4f}"
    assert (row["machine"], row["commit"]) == (describe_machine(), describe_commit())


def test_a_row_fits_the_results_of_this_repository(tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_bytes((Path(__file__).parents[2] / "results" / "models.csv").read_bytes())
    before = len(path.read_text().splitlines())
    add_result(write_report(_table(), tmp_path / "out"), path, "new")
    assert len(path.read_text().splitlines()) == before + 1
