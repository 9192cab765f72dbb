import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.manifest import Manifest
from threeages.data.mixup import Mixture
from threeages.errors import ConfigError
from threeages.export.to_onnx import export_onnx
from threeages.inference.runtime import OnnxModel
from threeages.models.vit import NUM_FEATURES, WIDTH
from threeages.training import frozen as activations
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.losses import TEACHER
from threeages.training.recipes import TEACHER_WEIGHT
from threeages.training.run import train
from threeages.training.teachers import open_network, open_tower, standardize

SMALL = TrainConfig(input_size=56, epochs=1, batch_size=16, split="identity", precision="32-true")
ALIGNMENT = 0.85  # the network of faces'


def test_a_student_learns_what_its_teacher_sees(
    manifest: Manifest, tower: Path, cache_dir: Path, tmp_path: Path
) -> None:
    """Better than by knowing only the mean, which costs 1; the export answers as any other."""
    config = replace(SMALL, teacher=str(tower), tasks={TEACHER: 20.0}, epochs=6, batch_size=4)
    losses = []
    train(
        manifest,
        config,
        tmp_path / "run",
        cache_dir=cache_dir,
        log=lambda epoch: losses.append(epoch["train_loss"]),
    )
    assert losses[-1] < 0.9 * 20 < losses[0]
    model = load_checkpoint(tmp_path / "run")[0]
    export_onnx(model, tmp_path / "model.onnx")
    pixels = np.zeros((2, 56, 56, 3), dtype=np.uint8)
    assert OnnxModel(tmp_path / "model.onnx").predict(pixels).shape == (2, 3)


def test_the_tower_is_asked_once_for_tokens_and_the_whole(
    manifest: Manifest, tower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = open_tower(manifest, str(tower), ALIGNMENT, tmp_path).kept
    assert tokens.shape == (len(manifest), 1 + 10 * 10, WIDTH)  # patches of 16 of 160 pixels
    (kept,) = tmp_path.glob("prefix-*")
    whole = open_tower(manifest, str(tower), ALIGNMENT, tmp_path, whole=True).kept
    assert whole.shape == (len(manifest), NUM_FEATURES)
    np.testing.assert_allclose(whole[:, :WIDTH], tokens[:, 0], atol=1e-3)
    mean = tokens[:, 1:].astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(whole[:, WIDTH:], mean, atol=0.02)  # half precision
    monkeypatch.setattr(activations, "_compute", lambda *_: pytest.fail("was asked again"))
    assert np.array_equal(open_tower(manifest, str(tower), ALIGNMENT, tmp_path).kept, tokens)
    kept.unlink()  # the whole alone takes a fiftieth of the room
    again = open_tower(manifest, str(tower), ALIGNMENT, tmp_path, whole=True)
    assert np.array_equal(again.kept, whole)
    with pytest.raises(pytest.fail.Exception):
        open_tower(manifest, str(tower), 0.7, tmp_path)  # another cut


def test_a_network_is_asked_for_its_features(manifest: Manifest, cache_dir: Path) -> None:
    config = TrainConfig(model="mobilenet_v1_face", weights="random", input_size=64)
    found = open_network(manifest, config, cache_dir).kept
    assert found.shape == (len(manifest), 2048)
    assert np.array_equal(found, open_network(manifest, config, cache_dir).kept)


def test_one_face_is_answered_as_kept_and_two_in_one_are_asked_about(
    manifest: Manifest, tower: Path, cache_dir: Path
) -> None:
    teacher = open_tower(manifest, str(tower), ALIGNMENT, cache_dir)
    shares = np.array([0.5, 1, 1 - 1e-6], dtype=np.float32)
    found = teacher.answer(Mixture(np.array([1, 3, 2]), np.array([4, 0, 4]), shares), torch.device("cpu"))
    kept = torch.from_numpy(teacher.kept[[1, 3, 2, 4]]).float()
    assert torch.equal(found[1], kept[1])
    torch.testing.assert_close(found[2], kept[2], rtol=0, atol=0.05)  # hardly mixed
    apart = (kept[0] - kept[3]).abs().mean()
    assert all((found[0] - kept[i]).abs().mean() > 0.1 * apart > 0 for i in (0, 3))


def test_features_are_of_variance_one_over_the_rows() -> None:
    features = np.random.default_rng(0).normal(3, 7, (12, 5)).astype(np.float16)
    features[:8, 4] = 2  # one that tells of nothing
    found = standardize(features, np.arange(8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:8].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:8].std(axis=0), [1, 1, 1, 1, 0], atol=1e-3)
    features[8:] = 1000
    assert np.array_equal(found[:8], standardize(features, np.arange(8))[:8])


def test_a_teacher_and_its_task_go_together() -> None:
    with pytest.raises(ConfigError, match="go together"):
        TrainConfig(teacher="tower.safetensors")


def test_the_command_takes_a_teacher_beside_the_recipes_tasks(
    faces_csv: Path, tower: Path, cache_dir: Path, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "small.json", tmp_path / "run"
    recipe.write_text(json.dumps({**SMALL.to_dict(), "tasks": {"identity": 0.5}}))
    command = ["train", str(faces_csv), "--recipe", str(recipe), "--out", str(out)]
    result = CliRunner().invoke(app, [*command, "--teacher", str(tower), "--cache-dir", str(cache_dir)])
    assert result.exit_code == 0, result.output
    held = json.loads((out / "config.json").read_text())["config"]
    assert held["tasks"] == {"teacher": TEACHER_WEIGHT, "identity": 0.5}
    assert {"teacher_explained", "identity_accuracy"} <= json.loads((out / "tasks.json").read_text()).keys()
