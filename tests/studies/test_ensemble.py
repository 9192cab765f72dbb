import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError, ModelError
from threeages.evaluation.collect import predict_rows
from threeages.evaluation.predictions import PredictionTable
from threeages.studies import ensemble
from threeages.studies.ensemble import predict_ensemble
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.run import run_training

pytestmark = pytest.mark.slow

SMALL = TrainConfig(input_size=56, epochs=1, batch_size=16, split="identity", precision="32-true")


@pytest.fixture(scope="module")
def manifest(faces_csv: Path) -> Manifest:
    return load_manifest(faces_csv)


@pytest.fixture(scope="module")
def runs(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    configs = {
        "first": SMALL,
        "second": replace(SMALL, seed=43),
        "smaller": replace(SMALL, input_size=64, extra_heads={"years": 0.5}),
        "other fold": replace(SMALL, fold=1),
    }
    tables = {name: run_training(manifest, c, folder / name, cache_dir=folder) for name, c in configs.items()}
    assert all(isinstance(table, PredictionTable) for table in tables.values())
    return {name: folder / name for name in configs}


def predict(manifest: Manifest, runs: dict[str, Path], names: list[str], tta: list[str]) -> PredictionTable:
    cache_dir = runs["first"].parent
    return predict_ensemble(manifest, [runs[name] for name in names], tta, cache_dir=cache_dir)


def test_the_output_is_the_mean_over_runs_and_augmentations(
    manifest: Manifest, runs: dict[str, Path]
) -> None:
    tta = ["plain", "mirrored", "whole", "whole-mirrored"]
    parts = [predict(manifest, runs, [run], [name]) for run in ("first", "smaller") for name in tta]
    found = predict(manifest, runs, ["first", "smaller"], tta)
    np.testing.assert_allclose(found.probs, np.mean([part.probs for part in parts], axis=0), atol=1e-6)
    assert found.paths == parts[0].paths
    assert found.provenance.split == "identity"
    assert all(found.columns["predicted_age"])  # of the one that has years
    assert np.abs(parts[0].probs - parts[1].probs).max() > 1e-4  # a mirrored face is another image


def test_a_model_of_whole_images_runs_once_for_each_distinct_augmentation(
    manifest: Manifest, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_of_the_model: list[int] = []
    monkeypatch.setattr(
        ensemble, "predict_rows", lambda *args: runs_of_the_model.append(1) or predict_rows(*args)
    )
    found = predict(manifest, runs, ["first"], ["whole", "plain"])
    assert len(runs_of_the_model) == 1
    np.testing.assert_array_equal(found.probs, predict(manifest, runs, ["first"], ["plain"]).probs)


def test_frozen_features_of_the_training_are_used(manifest: Manifest, tmp_path: Path) -> None:
    config = replace(SMALL, epochs=0, head_epochs=1)
    held = run_training(manifest, config, tmp_path / "frozen", cache_dir=tmp_path)
    assert held is not None
    kept, computed = (
        predict_ensemble(manifest, [tmp_path / "frozen"], ["plain"], cache_dir=folder)
        for folder in (tmp_path, tmp_path / "fresh")
    )
    np.testing.assert_allclose(kept.probs, held.probs, atol=1e-6)
    np.testing.assert_allclose(kept.probs, computed.probs, atol=2e-3)  # kept in float16
    assert np.abs(kept.probs - computed.probs).max() > 0


def test_bfloat16_answers_as_float32_does(manifest: Manifest, runs: dict[str, Path]) -> None:
    """The path of transformers on CPUs with bfloat16, here by emulation where the CPU has none."""
    model = load_checkpoint(runs["smaller"])[0]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact = ensemble._open_model(model)(pixels)
    rounded = ensemble._predict_bfloat16(model, pixels)
    assert rounded[1] is not None
    assert exact[1] is not None
    for found, expected in ((rounded[0], exact[0]), (rounded[1], exact[1])):
        np.testing.assert_allclose(found, expected, atol=0.02)
        assert np.abs(found - expected).max() > 0


def test_runs_with_other_test_rows_are_refused(manifest: Manifest, runs: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="other test rows"):
        predict(manifest, runs, ["first", "other fold"], ["plain"])


def test_a_damaged_run_is_named_before_any_work(
    manifest: Manifest, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "second"
    shutil.copytree(runs["second"], copied)
    (copied / "best.ckpt").write_bytes((copied / "best.ckpt").read_bytes()[:5000])
    monkeypatch.setattr(ensemble, "open_data", None)
    with pytest.raises(ModelError, match=r"second.best\.ckpt is damaged") as raised:
        predict_ensemble(manifest, [runs["first"], copied])
    assert "threeages train" in raised.value.hint


def test_runs_of_other_images_are_refused(manifest: Manifest, runs: dict[str, Path]) -> None:
    """The test rows of this manifest may be rows that the run was trained on."""
    fewer = manifest.select(np.arange(5, len(manifest)))
    with pytest.raises(ConfigError, match="trained on other images or another split") as raised:
        predict_ensemble(fewer, [runs["first"]], ["plain"], cache_dir=runs["first"].parent)
    assert "manifest that it was trained on" in raised.value.hint


@pytest.mark.parametrize("tta", [["sideways"], []])
def test_an_unknown_augmentation_is_refused(
    manifest: Manifest, runs: dict[str, Path], tta: list[str]
) -> None:
    with pytest.raises(ConfigError, match="whole-mirrored"):
        predict(manifest, runs, ["first"], tta)


def test_a_folder_that_is_no_run_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no checkpoint"):
        predict_ensemble(manifest, [tmp_path])


def test_only_selects_rows_by_a_column(manifest: Manifest, runs: dict[str, Path]) -> None:
    cache_dir = runs["first"].parent
    everything = predict(manifest, runs, ["first"], ["plain"])
    identity = everything.columns["identity"][0]
    found = predict_ensemble(manifest, [runs["first"]], only=("identity", identity), cache_dir=cache_dir)
    assert set(found.columns["identity"]) == {identity}
    assert len(found) < len(everything)
    with pytest.raises(DataError, match="identity=nobody"):
        predict_ensemble(manifest, [runs["first"]], only=("identity", "nobody"), cache_dir=cache_dir)


def test_a_damaged_state_changes_nothing_of_the_run(
    manifest: Manifest, runs: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mean needs of it only what the run was trained on, and leaves its repair to the training."""
    copied = tmp_path / "first"
    shutil.copytree(runs["first"], copied)
    for name in ("last.ckpt", "previous.ckpt"):
        (copied / name).write_bytes(b"damaged")
        before = {path.name: path.read_bytes() for path in copied.iterdir()}
        predict_ensemble(manifest, [copied], ["plain"], cache_dir=runs["first"].parent)
        assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert "what its run was trained on is not known" in caplog.text


def test_a_run_on_every_row_has_no_test_rows(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(manifest, replace(SMALL, split="none"), tmp_path / "run", cache_dir=tmp_path)
    monkeypatch.setattr(ensemble, "open_data", None)
    with pytest.raises(ConfigError, match="trained on every row, and has no test rows"):
        predict_ensemble(manifest, [tmp_path / "run"], ["plain"])
