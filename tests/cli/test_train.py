"""The commands train and distill as they are typed; what they print, and what is left in the folder."""

import csv
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from threeages.cli.main import app, main
from threeages.data.manifest import load_manifest
from threeages.data.synthetic import write_face_set
from threeages.errors import ConfigError, DataError, ModelError, ThreeAgesError
from threeages.evaluation.predictions import load_predictions
from threeages.training.checkpoint import load_checkpoint

SMALL = ("--recipe", "reference-cnn", "--input-size", "48", "--epochs", "1")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The command adds a handler for its own process; the next test starts without."""
    yield
    logging.getLogger("threeages").handlers.clear()


def _invoke(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def _train(manifest: Path, out: Path, *args: object) -> Result:
    return _invoke("train", manifest, "--out", out, "--cache-dir", out.parent / "cache", *args)


def _drop_columns(source: Path, target: Path, *names: str) -> Path:
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [name for name in rows[0] if name not in names]
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return target


@pytest.mark.slow
def test_a_plain_training_needs_no_option_and_no_network(faces_csv: Path, tmp_path: Path) -> None:
    """In a process of its own, with every connection refused."""
    code = (
        "import socket\n"
        "connect = socket.socket.connect\n"
        "def refuse(self, *where):\n"
        "    if self.family != socket.AF_UNIX: raise OSError('no network')\n"
        "    connect(self, *where)\n"
        "socket.socket.connect = refuse\n"
        "from threeages.cli.main import main\n"
        "main()"
    )
    command = [sys.executable, "-c", code, "train", str(faces_csv)]
    done = subprocess.run(
        [*command, "--cache-dir", "cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / f"{faces_csv.stem}-default"
    config = json.loads((run / "config.json").read_text())
    assert config["config"]["model"] == "mobilenet_v1_face"
    assert config["config"]["keep_last"] is True  # of few epochs of a head
    assert config["config"]["calibrate"] is True  # on the validation identities
    assert config["split"]["validation"] > 0
    assert config["config"]["extra_heads"] == {"years": 0.5}
    assert config["split"]["shared_identities"] == 0
    assert "no column age" not in done.stderr
    assert "val_accuracy" in done.stderr  # epochs are progress
    assert "Caching" not in done.stdout
    assert "━" not in done.stdout
    assert "  accuracy " in done.stdout
    assert "Random split" not in done.stdout
    assert "years" in load_checkpoint(run)[0].net.heads


@pytest.mark.slow
def test_the_default_recipe_without_ages_trains_the_groups_alone(faces_csv: Path, tmp_path: Path) -> None:
    manifest = _drop_columns(faces_csv, tmp_path / "ageless.csv", "age")
    options = (
        "--root",
        faces_csv.parent,
        "--input-size",
        "48",
        "--augmented-copies",
        "1",
        "--head-epochs",
        "1",
    )
    result = _train(manifest, tmp_path / "run", *options)
    assert "no column age" in result.stderr
    assert "years" not in load_checkpoint(tmp_path / "run")[0].net.heads


@pytest.mark.slow
def test_a_random_split_says_what_its_numbers_are_worth(faces_csv: Path, tmp_path: Path) -> None:
    result = _train(faces_csv, tmp_path / "run", *SMALL, "--track", "tensorboard")
    assert result.exit_code == 0
    tracked = json.loads((tmp_path / "run" / "tracking.json").read_text())["content"]["tensorboard"]
    assert tracked["epochs"] == 1
    assert "test_accuracy" in tracked["test"]
    shared = json.loads((tmp_path / "run" / "config.json").read_text())["split"]["shared_identities"]
    assert f"Random split: {shared} identities are in training and among the rows" in result.stdout
    assert "the epoch was chosen on the rows evaluated" in result.stdout
    result = _train(faces_csv, tmp_path / "last", *SMALL, "--keep-last")
    assert "identities are in training" in result.stdout
    assert "epoch was chosen" not in result.stdout
    result = _train(faces_csv, tmp_path / "identity", *SMALL, "--split", "identity")
    assert "Random split" not in result.stdout


def test_a_manifest_without_identities_is_told_what_to_do(faces_csv: Path, tmp_path: Path) -> None:
    manifest = _drop_columns(faces_csv, tmp_path / "nameless.csv", "identity")
    with pytest.raises(DataError, match="--split random"):
        _train(manifest, tmp_path / "run", "--root", faces_csv.parent, *SMALL, "--split", "identity")
    result = _train(manifest, tmp_path / "run", "--root", faces_csv.parent, *SMALL)
    assert result.exit_code == 0
    assert "Random split: the same identities may be in training" in result.stdout


def test_a_training_on_every_row_has_nothing_to_evaluate(faces_csv: Path, tmp_path: Path) -> None:
    result = _train(faces_csv, tmp_path / "run", *SMALL, "--split", "none")
    assert result.exit_code == 0
    assert "accuracy" not in result.stdout
    assert (tmp_path / "run" / "best.ckpt").exists()


@pytest.mark.slow
def test_a_run_is_repeated_from_its_folder_alone(faces_csv: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    _train(faces_csv, first, *SMALL, "--lr", "2e-3", "--augmented-copies", "2")
    _train(faces_csv, second, "--recipe", first / "config.json")
    _train(faces_csv, third, "--recipe", first, "--epochs", "2")
    configs = [json.loads((run / "config.json").read_text()) for run in (first, second, third)]
    assert configs[0] == configs[1]
    assert configs[2]["config"] == {**configs[0]["config"], "epochs": 2}
    predictions = [(run / "predictions.csv").read_text() for run in (first, second)]
    assert predictions[0] == predictions[1]


def test_further_heads_given_need_their_column(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column height"):
        _train(faces_csv, tmp_path / "run", *SMALL, "--extra-head", "height=0.3")
    result = _train(faces_csv, tmp_path / "run", *SMALL, "--extra-head", "years=0.5")
    assert result.exit_code == 0
    assert "years_mae" in json.loads((tmp_path / "run" / "test_metrics.json").read_text())


def test_a_recipe_with_an_unknown_part_is_explained(faces_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)'\+coarl'.*Allowed: softmax, soft_ordinal, coral"):
        _train(faces_csv, tmp_path / "run", "--recipe", "default+coarl")


@pytest.mark.slow
def test_distilled_weights_are_taken_by_a_training(faces_csv: Path, tmp_path: Path) -> None:
    recipe, weights = tmp_path / "small.json", tmp_path / "distilled.safetensors"
    recipe.write_text('{"model": "mobilenet_v1_face", "epochs": 0, "head_epochs": 1}')
    common = ("--recipe", recipe, "--input-size", "64", "--fold", "1", "--cache-dir", tmp_path / "cache")
    result = _invoke("distill", faces_csv, "--epochs", "1", "--out", weights, *common)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"Weights: {weights}"
    assert "epoch 1  loss" in result.stdout
    result = _invoke("train", faces_csv, "--weights", weights, "--out", tmp_path / "run", *common)
    assert result.exit_code == 0


@pytest.mark.slow
def test_distillation_needs_no_labels(faces_csv: Path, tmp_path: Path) -> None:
    manifest = _drop_columns(faces_csv, tmp_path / "bare.csv", "age", "label")
    assert "label" not in load_manifest(manifest, root=faces_csv.parent, need_label=False).columns
    recipe = tmp_path / "small.json"
    recipe.write_text('{"model": "mobilenet_v1_face", "input_size": 64, "extra_heads": {"years": 0.5}}')
    result = _invoke(
        "distill", manifest, "--recipe", recipe, "--root", faces_csv.parent, "--epochs", "1", "--only",
        "identity=drawn-001", "--out", tmp_path / "w.safetensors", "--cache-dir", tmp_path / "cache",
        "--split", "none",
    )  # fmt: skip
    assert result.exit_code == 0


def test_a_teacher_is_an_option_and_its_file_must_exist(faces_csv: Path, tmp_path: Path) -> None:
    from threeages.errors import ModelError

    with pytest.raises(ModelError, match=r"none\.safetensors"):
        _train(faces_csv, tmp_path / "run", *SMALL, "--teacher", tmp_path / "none.safetensors")
    assert not (tmp_path / "run" / "config.json").exists()


def test_linked_images_are_trained_on(faces_csv: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for file in load_manifest(faces_csv).files():
        (folder / file.name).symlink_to(file.resolve())
    (folder / "faces.csv").write_text(faces_csv.read_text().replace(",", ";"))
    result = _train(folder / "faces.csv", tmp_path / "run", *SMALL)
    assert result.exit_code == 0
    assert "Written to" in result.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["data", "split", "MANIFEST", "--folds", "99"], "at most 24"),
        (["data", "split", "MANIFEST", "--fold", "7"], "fold 7 of 5"),
        (["train", "MANIFEST", "--lr", "nan"], "lr is nan"),
        (["train", "MANIFEST", "--seed", "-1"], "seed is -1"),
        (["distill", "MANIFEST", "--folds", "99", "--out", "w.safetensors"], "at most 24"),
        (["distill", "MANIFEST", "--lr", "inf", "--out", "w.safetensors"], "lr is inf"),
        (["export", "RUN", "--out", "a.onnx", "--temperature", "nan"], "--temperature was nan"),
        (["export", "RUN", "--out", "a.onnx", "--temperature", "0"], "--temperature was 0"),
        (["data", "import", "a.csv", "--bounds", "13,31,inf"], "Age bounds were"),
        (["data", "import", "a.csv", "--bounds", "nan,31,51"], "Age bounds were"),
    ],
)
def test_numbers_out_of_bounds_end_in_a_sentence_before_any_work(
    command: list[str], words: str, faces_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open_cache", "open_faces"):
        monkeypatch.setattr(f"threeages.data.cache.{name}", lambda *_, **__: pytest.fail("read an image"))
    args = [str(faces_csv) if arg == "MANIFEST" else arg for arg in command]
    with pytest.raises(ThreeAgesError, match=words):
        _invoke(*args)


@pytest.mark.parametrize(
    "command",
    [
        ["tune", "a.csv", "--out", "o", "--trials", "0"],
        ["tune", "a.csv", "--out", "o", "--processes", "0"],
        ["tune", "a.csv", "--out", "o", "--epochs", "0"],
        ["tune", "a.csv", "--out", "o", "--seed", "-1"],
        ["study", "a.csv", "--out", "o", "--folds", "0"],
        ["study", "a.csv", "--out", "o", "--folds", "6"],
        ["study", "a.csv", "--out", "o", "--epochs", "0"],
        ["study", "a.csv", "--out", "o", "--seed", "-1"],
        ["data", "split", "a.csv", "--seed", "-1"],
        ["predict", "a.jpg", "--max-error", "7"],
        ["predict", "a.jpg", "--coverage", "1"],
    ],
)
def test_options_have_bounds(command: list[str]) -> None:
    result = _invoke(*command)
    assert result.exit_code == 2
    assert f"Invalid value for '{command[-2]}'" in result.output


@pytest.mark.slow
def test_a_run_takes_no_other_manifest_and_evaluate_does(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert _train(faces_csv, run, *SMALL).exit_code == 0
    other = tmp_path / "other.csv"
    text = faces_csv.read_text().replace("YOUNG", "x").replace("OLD", "YOUNG").replace("x", "OLD")
    other.write_text(text)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    command = ["train", other, "--root", faces_csv.parent, "--out", run, "--cache-dir", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", ["threeages", *map(str, command), *SMALL])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    found = capsys.readouterr()
    assert "other labels" in found.err
    assert "another --out" in found.err
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    command = ["evaluate", other, "--root", faces_csv.parent, "--model", run, "--no-detect"]
    done = _invoke(*command, "--out", tmp_path / "report")
    assert done.exit_code == 0


@pytest.mark.slow
def test_a_damaged_model_is_answered_with_the_way_out_and_rebuilt(faces_csv: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _train(faces_csv, run, *SMALL)
    whole = (run / "best.ckpt").read_bytes()
    (run / "best.ckpt").write_bytes(whole[:1000] + bytes(64) + whole[1064:])
    (image,) = list(faces_csv.parent.rglob("*.jpg"))[:1]
    for command in (
        ("predict", image, "--model", run),
        ("evaluate", faces_csv, "--model", run, "--out", tmp_path / "report"),
        ("export", run, "--out", tmp_path / "model.onnx"),
    ):
        with pytest.raises(ModelError, match=r"(?s)is damaged.*Run the same threeages train command again"):
            _invoke(*command)
    assert _train(faces_csv, run, *SMALL).exit_code == 0
    assert (run / "best.ckpt").read_bytes() == whole
    assert _invoke("predict", image, "--model", run).exit_code == 0


def _with_sources(source: Path, target: Path) -> Path:
    """The drawn faces with every second identity of a set whose terms allow any use."""
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["source"] = "fairface" if int(row["identity"][-1]) % 2 else "utkface"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_only_sources_with_permissive_terms_are_trained_on(faces_csv: Path, tmp_path: Path) -> None:
    manifest = _with_sources(faces_csv, tmp_path / "two.csv")
    root = ("--root", faces_csv.parent)
    result = _train(manifest, tmp_path / "run", *SMALL, *root, "--terms", "permissive")
    assert "60 of 120 rows are kept; dropped: utkface 60 (research-only)" in result.stderr
    sources = json.loads((tmp_path / "run" / "config.json").read_text())["split"]["sources"]
    assert sources.keys() == {"fairface"}
    _train(manifest, tmp_path / "all", *SMALL, *root)
    sources = json.loads((tmp_path / "all" / "config.json").read_text())["split"]["sources"]
    assert sources.keys() == {"fairface", "utkface"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--terms", "permissive"), "faces: research-only"),
        (("--terms", "free"), "Allowed: any, permissive"),
        (("--allow-source", "faces"), "--terms permissive"),
        (("--terms", "permissive", "--allow-source", "mine"), "takes one of: faces"),
    ],
)
def test_terms_that_leave_nothing_are_explained(
    args: tuple[str, ...], message: str, faces_csv: Path, tmp_path: Path
) -> None:
    with pytest.raises(ThreeAgesError) as caught:
        _train(faces_csv, tmp_path / "run", *SMALL, *args)
    assert message in str(caught.value)


def test_ranges_of_ages_and_rows_without_labels_are_trained_on(faces_csv: Path, tmp_path: Path) -> None:
    with faces_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        age = int(row["age"])
        ends = (str(age - 8), str(age + 8)) if number % 2 else ("", "")
        row |= {"age_low": ends[0], "age_high": ends[1], "label": "" if number % 4 == 1 else row["label"]}
    manifest = tmp_path / "ranges.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    args = ("--root", faces_csv.parent, "--extra-head", "years=0.5")
    result = _train(manifest, tmp_path / "run", *SMALL, *args)
    assert result.exit_code == 0
    found = json.loads((tmp_path / "run" / "test_metrics.json").read_text())
    assert 0 < found["years_mae"] < 100
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["failed"]["no_label"] > 0
    assert metrics["years"]["n"] < metrics["n"]


@pytest.mark.slow  # three exports
def test_what_a_model_was_trained_on_is_recognised_when_it_is_evaluated(
    faces_csv: Path, tmp_path: Path
) -> None:
    run, own = tmp_path / "run", ("--no-detect", "--model")
    _train(
        faces_csv,
        run,
        "--recipe",
        "reference-cnn",
        "--input-size",
        "48",
        "--epochs",
        "1",
        "--split",
        "identity",
    )
    _invoke("export", run, "--out", tmp_path / "all.onnx")
    _invoke("export", run, "--out", tmp_path / "images.onnx", "--digests", "images")
    _invoke("export", run, "--out", tmp_path / "none.onnx", "--digests", "none")
    counts = {}
    for model in (run, tmp_path / "all.onnx", tmp_path / "images.onnx", tmp_path / "none.onnx"):
        done = _invoke("evaluate", faces_csv, "--out", tmp_path / "out" / model.stem, *own, model)
        counts[model.stem] = "train images of this model" in done.stdout
    assert counts == {"run": True, "all": True, "images": True, "none": False}
    other = write_face_set(tmp_path / "other", identities=24, per_identity=2, seed=9)
    found = {}
    for name in ("all", "images"):
        report = tmp_path / "out" / f"other-{name}"
        _invoke("evaluate", other, "--out", report, *own, tmp_path / f"{name}.onnx")
        found[name] = set(load_predictions(report / "predictions.csv").columns["trained_on"])
    assert found == {"all": {"identity", "no"}, "images": {"no"}}  # the same names, of other people
    predictions = tmp_path / "out" / "all" / "predictions.csv"
    with pytest.raises(DataError, match="was trained on the image or the identity of"):
        _invoke("thresholds", predictions)
    kept = tmp_path / "kept"
    done = _invoke("evaluate", predictions, "--only", "trained_on=no", "--out", kept)
    assert "train images" not in done.stdout
    with pytest.raises(DataError, match="identities with a label"):  # held out, but too few
        _invoke("thresholds", kept / "predictions.csv")
    with pytest.raises(ConfigError, match="Allowed: all, images, none"):
        _invoke("export", run, "--out", tmp_path / "x.onnx", "--digests", "some")


def test_train_rows_are_recognised_unless_the_run_has_no_digests_of_them(
    faces_csv: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    _train(faces_csv, run, "--recipe", "reference-cnn", "--input-size", "48", "--epochs", "1")
    done = _invoke("evaluate", faces_csv, "--no-detect", "--model", run, "--out", tmp_path / "warned")
    assert "train images of this model" in done.stdout
    (run / "train_digests.json").unlink()
    done = _invoke("export", run, "--out", tmp_path / "m.onnx")
    assert "no digests of its train rows" in done.stderr
    done = _invoke(
        "evaluate", faces_csv, "--no-detect", "--model", tmp_path / "m.onnx", "--out", tmp_path / "o"
    )
    assert done.exit_code == 0
    assert "trained_on" not in (tmp_path / "o" / "predictions.csv").read_text()
