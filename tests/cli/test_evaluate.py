import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from threeages.cli.main import app
from threeages.data.importing.sources import import_source
from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.predictions import PredictionTable, load_predictions, save_predictions
from threeages.evaluation.provenance import Provenance
from threeages.files.locks import BusyError, hold_folder
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel, default_model_path


def _invoke(*args: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, args)))


def _table(name: str, count: int = 120, identities: int = 24) -> PredictionTable:
    """Calibrated predictions: the label is sampled from the probabilities."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet((0.5, 0.5, 0.5), count)
    labels = (rng.random((count, 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    columns = {
        "identity": tuple(f"{name}{i % identities}" for i in range(count)),
        "source": tuple(("faces", "other")[i % 2] for i in range(count)),
    }
    paths = tuple(f"{name}-{i}.jpg" for i in range(count))
    return PredictionTable(paths, labels, ("ok",) * count, probs, probs.max(axis=1), columns)


def _save_run(folder: Path, table: PredictionTable, split: str) -> Path:
    save_predictions(table, folder / "predictions.csv")
    config = {"config": {"split": split, "seed": 5}, "split": {"mode": split}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "predictions.csv"


@pytest.fixture
def faulty_csv(faces_csv: Path, tmp_path: Path) -> Path:
    """The manifest of the synthetic faces with a file that is missing and a label that is unknown."""
    header, first, *rest = faces_csv.read_text().splitlines()
    faulty = ["none.jpg,OLD,60,x", f"{first.split(',')[0]},elder,3,x"]
    path = tmp_path / "faces.csv"
    path.write_text("\n".join([header, first, *rest, *faulty]))
    return path


def test_a_manifest_is_evaluated_and_failed_rows_end_with_1(
    faulty_csv: Path, faces_csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = _invoke("evaluate", faulty_csv, "--root", faces_csv.parent, "--out", out, "--no-detect")
    assert done.exit_code == 1, done.output
    assert "120 images scored, 2 not (bad_label 1, missing 1)" in done.stdout
    found = json.loads((out / "metrics.json").read_text())
    assert (found["n"], found["failed"]) == (120, {"missing": 1, "bad_label": 1})
    written = {"metrics.json", "predictions.csv", "confusion.png", "reliability.png", "report.html"}
    assert {path.name for path in out.iterdir()} - {".lock"} == written
    again = _invoke("evaluate", out / "predictions.csv", "--out", tmp_path / "again")
    assert again.exit_code == 1, again.output
    assert json.loads((tmp_path / "again" / "metrics.json").read_text()) == found


def test_only_some_rows_of_a_manifest_are_predicted(faces_csv: Path, tmp_path: Path) -> None:
    column, value = "identity", load_identity(faces_csv)
    args = ("--only", f"{column}={value}", "--out", tmp_path, "--no-detect")
    assert _invoke("evaluate", faces_csv, *args).exit_code == 0
    assert set(load_predictions(tmp_path / "predictions.csv").columns[column]) == {value}


def load_identity(path: Path) -> str:
    with path.open(newline="") as file:
        return next(csv.DictReader(file))["identity"]


def test_predictions_are_joined_filtered_and_added_to_the_results(tmp_path: Path) -> None:
    parts = [_table(name) for name in ("a", "b")]
    files = [_save_run(tmp_path / f"fold-{i}", part, "identity") for i, part in enumerate(parts)]
    results = tmp_path / "results.csv"
    args = ("--only", "source=faces", "--table", results, "--name", "both", "--out", tmp_path / "out")
    done = _invoke("evaluate", *files, *args)
    assert done.exit_code == 0, done.output
    assert "Warning" not in done.output
    with results.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["model"], row["n"], row["units"], row["seed"]) == ("both", "120", "24", "5")


def test_a_random_split_is_warned_of_beside_the_metrics(tmp_path: Path) -> None:
    file = _save_run(tmp_path / "run", _table("a"), "random")
    (note,) = Provenance("random").notes()
    assert f"Warning: {note}" in _invoke("evaluate", file, "--out", tmp_path / "out").stdout
    assert note in (tmp_path / "out" / "report.html").read_text()
    done = _invoke("compare", file)
    assert done.exit_code == 0, done.output
    assert f"Warning: {note}" in done.stdout


def test_thresholds_and_card_of_a_random_split_are_refused_also_from_its_report(tmp_path: Path) -> None:
    file = _save_run(tmp_path / "run", _table("a"), "random")
    assert _invoke("evaluate", file, "--out", tmp_path / "report").exit_code == 0
    model = tmp_path / "model.onnx"
    model.write_bytes(default_model_path().read_bytes())
    for path in (file, tmp_path / "report" / "predictions.csv"):
        for command in (
            ("thresholds", path, "--model", model),
            ("card", "--set", f"Mine={path}", "--model", model, "--out", tmp_path / "card.md"),
        ):
            done = _invoke(*command)
            assert isinstance(done.exception, DataError)
            assert "random split" in done.exception.message
            assert "--split identity" in done.exception.hint
    assert model.read_bytes() == default_model_path().read_bytes()
    assert not (tmp_path / "card.md").exists()


def test_thresholds_of_unknown_rows_say_what_they_rest_on(tmp_path: Path) -> None:
    save_predictions(_table("a"), tmp_path / "p.csv")
    assert "do not say how their rows were split" in _invoke("thresholds", tmp_path / "p.csv").stdout
    known = _save_run(tmp_path / "run", _table("a"), "identity")
    assert "Warning" not in _invoke("thresholds", known).stdout


def test_the_gap_to_an_identity_disjoint_run_takes_the_place_of_the_advice(tmp_path: Path) -> None:
    table = _table("a", 400)
    order = (np.arange(3) - table.labels[:, None]) % 3  # 0 at the label
    right = np.take_along_axis(np.sort(table.probs)[:, ::-1], order, axis=1)
    random = _save_run(tmp_path / "random", replace(table, probs=right), "random")
    folds = [_save_run(tmp_path / name, _table(name, 400), "identity") for name in "bc"]
    options = [part for fold in folds for part in ("--disjoint", fold.parent)]
    done = _invoke("evaluate", random.parent, *options, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    gap = found["gap"]
    assert gap["random"] == found["accuracy"] == 1
    assert gap["difference"] == pytest.approx(1 - gap["disjoint"])
    assert gap["low"] < gap["difference"] < gap["high"]
    assert f"[{gap['low']:.3f}, {gap['high']:.3f}]" in done.stdout
    assert "may reward" not in done.stdout
    again = _invoke("evaluate", tmp_path / "out", "--out", tmp_path / "again")
    assert f"the gap of {gap['difference']:.3f}" in again.stdout
    (tmp_path / "faces.csv").write_text("path,label\na.jpg,OLD\n")
    refused = _invoke("evaluate", tmp_path / "faces.csv", *options, "--out", tmp_path / "refused")
    assert refused.exit_code == 2
    assert "not a manifest" in refused.stderr
    swapped = _invoke("evaluate", folds[0], "--disjoint", random, "--out", tmp_path / "swapped")
    assert isinstance(swapped.exception, DataError)
    assert "instead of random one is identity" in swapped.exception.message


def test_ages_are_asked_for_and_printed_with_what_they_are_not(tmp_path: Path) -> None:
    table = _table("a", count=400, identities=400)
    ages = np.arange(400) % 40
    columns = {"age": tuple(map(str, ages)), "predicted_age": tuple(map(str, ages + 1.0))}
    path = tmp_path / "p.csv"
    save_predictions(replace(table, columns=table.columns | columns), path)
    out = tmp_path / "out"
    done = _invoke("evaluate", path, "--out", out, "--brackets", "0,13,18", "--at", "18,21")
    assert done.exit_code == 0, done.output
    assert "make no age check" in done.stdout
    assert "Gaps between slices of 30 identities or more" in done.stdout
    found = json.loads((out / "metrics.json").read_text())
    assert found["brackets"]["names"] == ["0-12", "13-17", "18+"]
    assert found["brackets"]["answer"] in done.stdout
    eighteen, twenty_one = found["age_thresholds"]["limits"]
    assert (eighteen["limit"], twenty_one["limit"]) == (18, 21)
    assert eighteen["false_acceptance_near"]["rate"] == 0.25  # those of 17, taken for 18
    assert found["age_thresholds"]["note"] in done.stdout


@pytest.mark.parametrize(
    "wrong", [["--at", "0"], ["--at", "x"], ["--brackets", "18,13"], ["--challenge-rates", "0.1"]]
)
def test_wrong_questions_of_ages_are_refused_before_any_work(wrong: list[str], tmp_path: Path) -> None:
    done = _invoke("evaluate", tmp_path / "none.csv", "--out", tmp_path / "out", *wrong)
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_a_manifest_and_predictions_do_not_mix(faces_csv: Path, tmp_path: Path) -> None:
    save_predictions(_table("a"), tmp_path / "p.csv")
    done = _invoke("evaluate", tmp_path / "p.csv", faces_csv, "--out", tmp_path / "out")
    assert isinstance(done.exception, DataError)
    assert "not all of them are predictions" in done.exception.message
    refused = _invoke("evaluate", tmp_path / "p.csv", "--no-detect", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "--no-detect" in refused.stderr


def test_thresholds_are_stored_in_the_model_and_written(tmp_path: Path) -> None:
    save_predictions(_table("a", count=2000, identities=100), tmp_path / "p.csv")
    model = tmp_path / "model.onnx"
    model.write_bytes(default_model_path().read_bytes())
    done = _invoke("thresholds", tmp_path / "p.csv", "--model", model, "--out", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    assert "2,000 images of 100 identities" in done.stdout
    found = json.loads((tmp_path / "t.json").read_text())
    stored = OnnxModel(model).signature
    assert stored.error_thresholds == _pairs(found["errors"], "target_error", "confidence")
    assert stored.set_thresholds == _pairs(found["sets"], "target_coverage", "probability")


def _pairs(rows: Sequence[dict[str, float]], *names: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row[name] for name in names) for row in rows)


def test_runs_are_compared_by_folder_and_file(tmp_path: Path) -> None:
    _save_run(tmp_path / "run", _table("a"), "identity")
    save_predictions(_table("a"), tmp_path / "b.csv")
    done = _invoke("compare", tmp_path / "run", tmp_path / "b.csv")
    assert done.exit_code == 0, done.output
    assert "120 images" in done.stdout
    assert "0.0000" in done.stdout
    assert "+0.0000, " not in done.stdout  # that no row differs is no certainty


def test_a_card_is_written_for_the_shipped_model_and_for_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_predictions(_table(name), tmp_path / f"{name}.csv")
    sets = f"Both={tmp_path / 'a.csv'},{tmp_path / 'b.csv'}"
    shipped = ("--model", "default", "--root", f"Both={tmp_path}")
    done = _invoke("card", "--set", sets, *shipped, "--out", tmp_path / "card.md")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "card.md").read_text()
    assert "default model\n" in text
    assert "| Both | 240 | 48 |" in text
    model = tmp_path / "mine.onnx"
    model.write_bytes(default_model_path().read_bytes())
    assert _invoke("card", "--set", sets, "--model", model, "--out", tmp_path / "own.md").exit_code == 0
    assert "model mine\n" in (tmp_path / "own.md").read_text()


def test_a_card_names_the_sources_of_the_run(tmp_path: Path) -> None:
    save_predictions(_table("a"), tmp_path / "a.csv")
    for name, sources in (("run", {"utkface": 12, "mine": 3}), ("bare", {})):
        (tmp_path / name).mkdir()
        content = {"config": {}, "split": {"mode": "none", "sources": sources}}
        (tmp_path / name / "config.json").write_text(json.dumps(content))
    model, out = tmp_path / "mine.onnx", tmp_path / "card.md"
    model.write_bytes(default_model_path().read_bytes())
    options = ("card", "--set", f"A={tmp_path / 'a.csv'}", "--model", model, "--out", out, "--run")
    with pytest.raises(DataError, match="bare does not name the sources of its train images"):
        CliRunner().invoke(app, [*map(str, options), str(tmp_path / "bare")], catch_exceptions=False)
    assert not out.exists()
    assert _invoke(*options, tmp_path / "run").exit_code == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("---\nlicense: other\n")
    assert "| `utkface` | 12 |" in text
    assert "| `mine` | 3 |" in text


def test_missing_images_are_counted_and_the_first_is_named(
    faulty_csv: Path, faces_csv: Path, tmp_path: Path
) -> None:
    root = faces_csv.parent.resolve()
    done = _invoke("evaluate", faulty_csv, "--root", root, "--out", tmp_path / "out", "--no-detect")
    assert f"1 of 121 images are missing, first {root / 'none.jpg'}." in done.stderr
    with pytest.raises(DataError, match=r"121 of 121 images are missing, first .*\n.*--root"):
        CliRunner().invoke(app, ["evaluate", str(faulty_csv), "--out", str(tmp_path)], catch_exceptions=False)


def test_rows_outside_the_root_are_named_with_the_root_to_give(faces_csv: Path, tmp_path: Path) -> None:
    file = load_manifest(faces_csv).files()[0]
    (tmp_path / "m.csv").write_text(f"Image;Label\n{file};OLD\n")
    done = _invoke("evaluate", tmp_path / "m.csv", "--out", tmp_path / "out", "--no-detect")
    assert "1 rows cannot be used, first line 2: outside_root" in done.stderr
    assert f"--root '{file.parent}'" in done.stderr
    done = _invoke(
        "evaluate", tmp_path / "m.csv", "--root", file.parent, "--out", tmp_path / "out", "--no-detect"
    )
    assert done.exit_code == 0


def test_linked_images_and_folders_with_labels_are_evaluated(faces_csv: Path, tmp_path: Path) -> None:
    images = load_manifest(faces_csv)
    for name, label in (("young", 0), ("middle", 1), ("old", 2)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for row in np.flatnonzero(images.labels == label)[:4]:
            (tmp_path / "set" / name / f"blob{row}").symlink_to(images.files()[row].resolve())
    done = _invoke("evaluate", tmp_path / "set", "--out", tmp_path / "out", "--no-detect")
    assert done.exit_code == 0, done.output
    assert "12 images scored, 0 not" in done.stdout
    import_source(str(tmp_path / "set"), out=tmp_path / "m.csv")
    again = _invoke("evaluate", tmp_path / "m.csv", "--out", tmp_path / "out", "--no-detect")
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("status", "code"),
    [("no_face", 0), ("uncertain", 0), ("no_answer", 0), ("missing", 1), ("truncated", 1), ("bad_label", 1)],
)
def test_the_exit_code_is_that_of_predict(tmp_path: Path, status: str, code: int) -> None:
    rows = ["a.jpg,YOUNG,ok,0.8,0.1,0.1", "b.jpg,MIDDLE,ok,0.1,0.8,0.1", f"c.jpg,OLD,{status},,,"]
    header = "path,label,status,prob_young,prob_middle,prob_old"
    (tmp_path / "p.csv").write_text("\n".join([header, *rows]))
    done = _invoke("evaluate", tmp_path / "p.csv", "--out", tmp_path / "out")
    assert done.exit_code == code, done.output
    assert "2 images scored, 1 not" in done.stdout
    assert Record("c.jpg", status).failed == bool(code) or status == "no_answer"
    assert ("1 of 3 images could not be read or used." in done.stderr) == bool(code)


@pytest.mark.parametrize("text", ["path,label\n", "path,label\nx.jpg,\n", "path,label\nx.jpg,elder\n"])
def test_a_manifest_without_a_usable_row_ends_before_the_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("threeages.cli.evaluate.open_predictor", lambda *_: pytest.fail("read the model"))
    (tmp_path / "m.csv").write_text(text)
    done = _invoke("evaluate", tmp_path / "m.csv", "--out", tmp_path / "out")
    assert isinstance(done.exception, DataError)
    words = "None of 1 row has a label." if text.endswith(",\n") else "m.csv has no row that can be used."
    assert words in str(done.exception)


def test_a_report_of_others_does_not_replace_a_runs_own(faces_csv: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = tmp_path / "other.csv"
    save_predictions(_table("other"), other)
    own = _save_run(run, _table("own"), "identity")
    (run / "best.ckpt").touch()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    commands = (
        ("evaluate", other, "--out", run),
        ("evaluate", run, "--only", "source=faces", "--out", run),
        ("evaluate", run, other, "--out", run),
        ("ensemble", faces_csv, run, "--out", run),
    )
    for command in commands:
        with pytest.raises(ConfigError, match="is the folder of a run"):
            app([str(part) for part in command], standalone_mode=False)
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert _invoke("evaluate", run, "--out", run).exit_code == 0
    assert load_predictions(own).paths == _table("own").paths


def test_two_evaluations_do_not_write_into_one_folder(tmp_path: Path) -> None:
    predictions = _save_run(tmp_path / "run", _table("own"), "identity")
    with hold_folder(tmp_path / "out"), pytest.raises(BusyError, match="at work in"):
        app(["evaluate", str(predictions), "--out", str(tmp_path / "out")], standalone_mode=False)
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_run_without_predictions_is_named_with_what_makes_them(command: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("best.ckpt", "metrics.csv"):
        (tmp_path / "run" / name).write_text("epoch,phase\n1,train\n")
    out = ["--out", str(tmp_path / "out")] if command == "evaluate" else []
    with pytest.raises(DataError, match=r"run holds a run without predictions\.csv") as raised:
        app([command, str(tmp_path / "run"), *out], standalone_mode=False)
    assert "threeages train command of that run again" in raised.value.hint
