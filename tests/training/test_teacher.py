import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.checkpoint import load_checkpoint
from threeages.config import TrainConfig
from threeages.errors import ConfigError
from threeages.export import export_onnx
from threeages.manifest import Manifest, load_manifest
from threeages.predict import OnnxModel
from threeages.training.activations import Inputs
from threeages.training.run import train
from threeages.training.teacher import TEACHER, load_teacher, read_features

SMALL = TrainConfig(input_size=56, epochs=1, batch_size=16, split="people", precision="32-true")


@pytest.fixture(scope="module")
def manifest(faces_csv: Path) -> Manifest:
    return load_manifest(faces_csv)


@pytest.fixture(scope="module")
def teacher(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    train(manifest, replace(SMALL, input_size=64), folder / "run", cache_dir=folder)
    return folder / "run"


def test_a_student_learns_what_its_teacher_sees(manifest: Manifest, teacher: Path, tmp_path: Path) -> None:
    """At another size, and better than by knowing only the mean; the export answers as any other."""
    config = replace(SMALL, teacher=str(teacher), tasks={TEACHER: 5.0}, epochs=6)
    train(manifest, config, tmp_path / "run", cache_dir=teacher.parent)
    assert json.loads((tmp_path / "run" / "tasks.json").read_text())["teacher_explained"] > 0.05
    model = load_checkpoint(tmp_path / "run")[0]
    export_onnx(model, tmp_path / "model.onnx")
    pixels = np.zeros((2, 56, 56, 3), dtype=np.uint8)
    assert OnnxModel(tmp_path / "model.onnx").predict(pixels).shape == (2, 3)


def test_the_features_are_of_variance_one_over_the_training_rows(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threeages.training.teacher.BATCH", 5)
    model, own = load_teacher(replace(SMALL, teacher=str(teacher), tasks={TEACHER: 1.0}))
    assert own.input_size == 64
    pixels = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    found = read_features(model, Inputs(pixels), np.arange(8))
    assert found.shape == (12, model.net.head.in_features)
    np.testing.assert_allclose(found[:8].mean(axis=0), 0, atol=1e-4)
    spread = found[:8].std(axis=0)
    assert np.all((np.abs(spread - 1) < 1e-3) | (spread == 0))  # a unit may be silent


def test_a_teacher_of_other_people_is_refused(teacher: Path) -> None:
    with pytest.raises(ConfigError, match="other people: fold 0, not 1"):
        load_teacher(replace(SMALL, teacher=str(teacher), tasks={TEACHER: 1.0}, fold=1))


def test_a_teacher_and_its_task_go_together() -> None:
    with pytest.raises(ConfigError, match="go together"):
        TrainConfig(teacher="runs/teacher")
