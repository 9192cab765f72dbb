import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from threeages.cli.answering import check_answering, choose_model, name_model
from threeages.cli.main import app
from threeages.data.manifest import load_manifest
from threeages.data.train_digests import create_train_digests, digest_images, save_train_digests
from threeages.errors import ConfigError, DataError
from threeages.evaluation.provenance import Provenance
from threeages.files.checksums import checksum
from threeages.inference.runtime import default_model_path
from threeages.training.build import create_model
from threeages.training.checkpoint import BEST, save_checkpoint
from threeages.training.config import TrainConfig

TINY = TrainConfig(model="cnn", input_size=32, options={"filters": [4], "kernels": [3], "dense": 8})
SHIPPED = Provenance(model="default", model_checksum=checksum(default_model_path()))


def _invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, faces_csv: Path, predictions_csv: Path) -> Path:
    """A run of an own source with predictions, whose model was not trained."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    save_checkpoint(folder / BEST, create_model(replace(TINY, seed=1)))
    split = {"mode": "identity", "sources": {"mine": 3}}
    (folder / "config.json").write_text(json.dumps({"config": TINY.to_dict(), "split": split}))
    (folder / "predictions.csv").write_bytes(predictions_csv.read_bytes())
    files = load_manifest(faces_csv).files()[:3]
    save_train_digests(create_train_digests(digest_images(files)), folder)
    return folder


def test_a_run_has_a_card_of_its_own_name_and_sources(run: Path, tmp_path: Path) -> None:
    """By the folder, by a report of it, and by the file that was exported from it."""
    assert _invoke("evaluate", run, "--out", tmp_path / "report").exit_code == 0
    exported = tmp_path / "own.onnx"
    assert _invoke("export", run, "--out", exported).exit_code == 0
    for set_, options in (
        (run, ()),
        (tmp_path / "report", ()),
        (run, ("--model", exported)),
    ):
        done = _invoke("card", "--set", f"A={set_}", *options, "--out", tmp_path / "card.md")
        assert done.exit_code == 0, done.output
        assert "not known" not in done.stderr
        text = (tmp_path / "card.md").read_text(encoding="utf-8")
        assert ("model own\n" if options else "model mine\n") in text
        assert "| `mine` | 3 |" in text
        assert "`utkface`" not in text


def test_sources_of_another_model_are_not_stated(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(default_model_path().read_bytes())
    done = _invoke("card", "--set", f"A={run}", "--model", other, "--out", tmp_path / "card.md")
    assert done.exit_code == 0, done.output
    assert "is not known, and the card says so; name its run with --run." in done.stderr
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "does not know what data" in text
    assert "`mine`" not in text


def test_predictions_of_one_model_make_no_card_of_another(
    run: Path, predictions_csv: Path, tmp_path: Path
) -> None:
    out, unnamed = tmp_path / "card.md", tmp_path / "other.csv"
    lines = predictions_csv.read_text().splitlines(keepends=True)
    unnamed.write_text("".join([lines[0], *(f"other-{line}" for line in lines[1:])]))
    for options, words in (
        (("--set", f"A={unnamed}"), "name no model"),
        (("--set", f"A={run}", "--model", "default"), "mine, not of default"),
        (("--set", f"A={run},{unnamed}"), "name no model"),
    ):
        done = _invoke("card", *options, "--out", out)
        assert isinstance(done.exception, ConfigError)
        assert words in done.exception.message
        assert "--model" in done.exception.hint
        assert not out.exists()


def test_an_evaluation_records_what_answered(faces_csv: Path, tmp_path: Path) -> None:
    lines = faces_csv.read_text().splitlines(keepends=True)
    few = tmp_path / "few.csv"
    few.write_text("".join([lines[0], *lines[1::5]]))
    options = ("--root", faces_csv.parent, "--no-detect")
    for name, model in (("default", "default"), ("path", str(default_model_path()))):
        out = tmp_path / name
        assert _invoke("evaluate", few, "--model", model, *options, "--out", out).exit_code == 0
        found = json.loads((out / "metrics.json").read_text())
        assert (found["model"], found["model_checksum"]) == ("default", SHIPPED.model_checksum)
    done = _invoke("card", "--set", f"A={tmp_path / 'path'}", "--out", tmp_path / "card.md")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "default model\n" in text
    assert "`utkface`" in text


def test_the_model_is_the_one_given_else_the_one_of_all_predictions(tmp_path: Path) -> None:
    here = Provenance(model=str(tmp_path))
    assert choose_model("large", [SHIPPED]) == "large"
    assert choose_model(None, [SHIPPED, SHIPPED]) == "default"
    assert choose_model(None, [here]) == str(tmp_path)
    for parts, words in (
        ([], "name no model"),
        ([SHIPPED, Provenance()], "name no model"),
        ([SHIPPED, here], "of several models: "),
        ([Provenance(model="runs/gone")], "runs/gone, which is not there"),
        ([replace(SHIPPED, model_checksum="other")], "another version of the default model"),
    ):
        with pytest.raises(ConfigError, match=words):
            choose_model(None, parts)
    check_answering("runs/all", [here, Provenance()])  # a fold stands for the model of all rows
    with pytest.raises(ConfigError, match="of default, not of runs/all"):
        check_answering("runs/all", [SHIPPED])


def test_a_model_has_the_name_that_tells_it_from_others(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    given = ("default", "large", tmp_path / "mine", tmp_path / "mine" / "model.onnx", tmp_path / "a.onnx")
    names = [name_model(str(model)) for model in given]
    assert names == ["default model", "large model", "model mine", "model mine", "model a"]


@pytest.mark.parametrize(
    "command",
    [
        ("thresholds", "{empty}"),
        ("monitor", "{empty}", "--target-error", "0.1", "--model", "default"),
        ("monitor", "{run}", "--target-error", "0.1", "--min-confidence", "0", "--reference", "{empty}"),
        ("compare", "{empty}"),
        ("sheet", "{empty}", "--root", ".", "--out", "a.html"),
        ("report", "{empty}"),
        ("card", "--set", "A={empty}", "--out", "a.md"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_folders_of_runs_are_taken_and_others_are_refused_with_what_to_give(
    command: tuple[str, ...], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.format(empty=tmp_path, run=run) for word in command]
    done = _invoke(*words)
    assert isinstance(done.exception, DataError)
    assert "holds no predictions.csv" in done.exception.message
    assert "folder of a run or of an evaluation" in done.exception.hint
    assert "data import" not in done.exception.hint
    if "{empty}" in command[1]:
        words[1] = str(run)
        assert "predictions.csv" not in str(_invoke(*words).exception)
