import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.manifest import load_manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.studies.probing import ERASED
from threeages.training.build import create_model
from threeages.training.checkpoint import BEST, save_checkpoint
from threeages.training.config import TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model was not trained."""
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(
        model="cnn", input_size=48, options={"filters": [4, 8], "kernels": [3, 3], "dense": 16}
    )
    save_checkpoint(folder / BEST, create_model(replace(config, seed=1)))
    (folder / "config.json").write_text(json.dumps({"config": config.to_dict(), "split": {}}))
    return folder


def test_a_run_is_explained_by_both_methods(run: Path, faces_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("captum", reason="captum is not installed (extra 'explain')")
    one, two = map(str, load_manifest(faces_csv).files()[:2])
    sides = {}
    for method in ("occlusion", "grad-cam"):
        out = tmp_path / method
        arguments = ["--model", str(run), "--method", method, "--no-detect", "--curves", "--out", str(out)]
        done = CliRunner().invoke(app, ["explain", one, two, *arguments])
        assert done.exit_code == 0, done.output
        held = json.loads((out / "explanations.json").read_text())
        assert (held["method"], len(held["faces"])) == (method, 2)
        sides[method] = len(held["faces"][0]["map"])
        assert len(list(out.glob("*.png"))) == 2
        assert "random deletion" in done.stdout
        assert "mean" in done.stdout
    assert sides["occlusion"] == 8 != sides["grad-cam"]


def test_a_bad_image_costs_no_other_its_map(
    run: Path, faces_csv: Path, bad_images: dict[str, Path], tmp_path: Path
) -> None:
    one = str(load_manifest(faces_csv).files()[0])
    arguments = ["--model", str(run), "--no-detect", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["explain", str(bad_images["empty"]), one, *arguments])
    assert done.exit_code == 1
    assert "1 of 2 images could not be read." in done.stderr
    faces = json.loads((tmp_path / "out" / "explanations.json").read_text())["faces"]
    assert [face["status"] for face in faces] == ["empty", "ok"]
    assert len(list((tmp_path / "out").glob("*-map.png"))) == 1
    assert "The pictures hold faces of people" in done.stderr


def test_the_mean_of_a_manifest_is_one_picture(run: Path, faces_csv: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(faces_csv.read_text().splitlines(keepends=True)[:4]))
    arguments = ["--root", str(faces_csv.parent), "--model", str(run), "--no-detect", "--mean"]
    done = CliRunner().invoke(app, ["explain", str(few), *arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["explanations.json", "mean.png"]
    assert len(json.loads((tmp_path / "out" / "explanations.json").read_text())["faces"]) == 3
    assert "faces of people" not in done.stderr  # of three there are maps alone


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["explain", "a.jpg", "--method", "lime", "--out", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "grad-cam" in done.exception.hint


@pytest.fixture
def predictions(faces_csv: Path, tmp_path: Path) -> Path:
    rows = load_manifest(faces_csv)
    probs = np.random.default_rng(0).dirichlet(np.ones(3), len(rows))
    table = PredictionTable(
        rows.paths, rows.labels, ("ok",) * len(rows), probs, probs.max(axis=1), dict(rows.columns)
    )
    save_predictions(table, tmp_path / "predictions.csv")
    return tmp_path / "predictions.csv"


def test_a_sheet_is_written_where_the_user_says(predictions: Path, faces_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    arguments = ["sheet", str(predictions), "--out", str(out), "--count", "3"]
    done = CliRunner().invoke(app, [*arguments, "--root", str(faces_dir)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    assert page.count("<img") == 9
    assert "Surest mistakes" in page
    assert "The sheet holds faces of people" in done.stderr
    wrong = CliRunner().invoke(app, [*arguments, "--root", str(tmp_path)])
    assert wrong.exit_code == 1
    assert "--root" in wrong.stderr
    assert "faces of people" not in wrong.stderr
    refused = CliRunner().invoke(app, ["sheet", str(predictions), "--out", "a.png", "--root", "."])
    assert isinstance(refused.exception, ConfigError)


def test_the_probe_of_a_run_adds_its_rows(run: Path, faces_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("concept_erasure", reason="concept-erasure is not installed (extra 'explain')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threeages.studies.identity_probe.LEAST_IMAGES", 5)
        arguments = ["--table", str(tmp_path / "probe.csv"), "--cache-dir", str(tmp_path / "cache")]
        done = CliRunner().invoke(app, ["identity-probe", str(run), str(faces_csv), *arguments])
    assert done.exit_code == 0, done.output
    rows = read_csv(tmp_path / "probe.csv").rows
    assert [row["erased"] for row in rows] == list(ERASED)
    assert {row["features"] for row in rows} == {"embedding"}
    assert {row["model"] for row in rows} == {run.name}
    assert all(name not in done.stdout for name in set(load_manifest(faces_csv).columns["identity"]))


def test_the_probe_says_what_a_manifest_lacks_before_an_image_is_read(
    run: Path, faces_csv: Path, tmp_path: Path
) -> None:
    pytest.importorskip("concept_erasure", reason="concept-erasure is not installed (extra 'explain')")
    arguments = ["identity-probe", str(run), str(faces_csv), "--cache-dir", str(tmp_path / "cache")]
    refused = CliRunner().invoke(app, arguments)  # each identity has five images
    assert isinstance(refused.exception, DataError)
    assert "10 images with a label each: the most that any have are 5, 5, 5." in refused.exception.message
    assert not (tmp_path / "cache").exists()
    assert "ten images" in " ".join(CliRunner().invoke(app, ["identity-probe", "--help"]).stdout.split())
