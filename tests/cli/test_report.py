import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threeages.evaluation.predictions import PredictionTable, load_predictions, save_predictions


@pytest.fixture
def run(predictions_csv: Path, tmp_path: Path) -> Path:
    """A run folder with predictions of the drawn faces."""
    folder = tmp_path / "run"
    save_predictions(load_predictions(predictions_csv), folder / "predictions.csv")
    config = {"config": {"model": "cnn", "split": "identity", "seed": 5}, "split": {"mode": "identity"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_run_gets_its_report(
    run_main: Callable[..., Any], run: Path, faces_csv: Path, tmp_path: Path
) -> None:
    (tmp_path / "audit.json").write_text(json.dumps({"images": 120, "readable": 119, "counts": {}}))
    (tmp_path / "leakage.json").write_text(json.dumps({"verdict": "Nothing leaks."}))
    (tmp_path / "card.md").write_text("# A card")
    done = run_main(
        "report", run, "--root", faces_csv.parent, "--model", "default", "--audit", tmp_path / "audit.json",
        "--leakage", tmp_path / "leakage.json", "--card", tmp_path / "card.md", "--title", "Faces of <2026>",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "The page holds faces of people" in done.err
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in (
        "Faces of &lt;2026&gt;",
        "119 of 120",
        "Nothing leaks.",
        "<h1>A card</h1>",
        "data:image/jpeg",
    ):
        assert text in page
    content = json.loads((run / "report.json").read_text())
    assert content["model"]["name"] == "default"
    assert content["model"]["face_ms"] > 0
    assert content["run"]["settings"]["model"] == "cnn"
    assert content["thresholds"]["errors"]
    assert "data:image" not in json.dumps(content)


def test_without_root_no_face_is_in_it(run_main: Callable[..., Any], run: Path) -> None:
    done = run_main("report", run)
    assert done.code == 0, done.err
    assert "data:image" not in (run / "report.html").read_text(encoding="utf-8")
    assert "keep it" not in done.err


def test_a_root_that_is_no_folder_is_refused(run_main: Callable[..., Any], run: Path, tmp_path: Path) -> None:
    done = run_main("report", run, "--root", tmp_path / "none")
    assert done.code == 2
    assert "none is no folder" in done.err
    assert not (run / "report.html").exists()


def test_faces_that_cannot_be_read_are_counted(
    run_main: Callable[..., Any], run: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    done = run_main("report", run, "--root", tmp_path / "other")
    assert done.code == 0
    assert "17 of 17 faces cannot be read below" in done.err


def test_a_manifest_is_no_predictions(run_main: Callable[..., Any], faces_csv: Path, tmp_path: Path) -> None:
    done = run_main("report", faces_csv, "--out", tmp_path / "out")
    assert done.code == 2
    assert "prob_young" in done.err
    assert not (tmp_path / "out").exists()


def test_predictions_alone_have_a_report_beside_them(
    run_main: Callable[..., Any], predictions_csv: Path, tmp_path: Path
) -> None:
    path = tmp_path / "peer.csv"
    path.write_bytes(predictions_csv.read_bytes())
    assert run_main("report", path).code == 0
    assert json.loads((tmp_path / "report.json").read_text())["run"] is None


def test_several_runs_are_joined_and_need_a_folder(
    run_main: Callable[..., Any], predictions_csv: Path, tmp_path: Path
) -> None:
    table = load_predictions(predictions_csv)
    parts = [_take(table, slice(0, 60)), _take(table, slice(60, 120))]
    for name, part in zip("ab", parts, strict=True):
        save_predictions(part, tmp_path / name / "predictions.csv")
    done = run_main("report", tmp_path / "a", tmp_path / "b")
    assert done.code == 2 or done.code == 1
    assert "Add --out." in done.err
    assert run_main("report", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both").code == 0
    content = json.loads((tmp_path / "both" / "report.json").read_text())
    assert content["evaluation"]["n"] == 120


def _take(table: PredictionTable, rows: slice) -> PredictionTable:
    return table.take(list(range(len(table)))[rows])


@pytest.mark.parametrize(("option", "command"), [("--audit", "data audit"), ("--leakage", "data leakage")])
@pytest.mark.parametrize("content", ["{", "[1]", '{"colour": "red"}'])
def test_a_file_that_is_no_report_is_refused_before_anything_is_written(
    run_main: Callable[..., Any], run: Path, tmp_path: Path, option: str, command: str, content: str
) -> None:
    (tmp_path / "file.json").write_text(content)
    done = run_main("report", run, option, tmp_path / "file.json")
    assert done.code != 0
    assert "file.json" in done.err
    assert command in " ".join(done.err.split())
    assert not (run / "report.html").exists()


def test_a_folder_without_predictions_says_so(run_main: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run_main("report", tmp_path / "empty")
    assert done.code != 0
    assert "empty" in done.err
