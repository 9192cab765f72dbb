from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.predictions import PredictionTable
from threeages.studies import ensemble
from threeages.studies.ensemble import ask as answers
from threeages.studies.ensemble import ask_together
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.run import train

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
        "smaller": replace(SMALL, input_size=64, tasks={"years": 0.5}),
        "other fold": replace(SMALL, fold=1),
    }
    tables = {name: train(manifest, c, folder / name, cache_dir=folder) for name, c in configs.items()}
    assert all(isinstance(table, PredictionTable) for table in tables.values())
    return {name: folder / name for name in configs}


def ask(manifest: Manifest, runs: dict[str, Path], names: list[str], views: list[str]) -> PredictionTable:
    cache_dir = runs["first"].parent
    return ask_together(manifest, [runs[name] for name in names], views, cache_dir=cache_dir)


def test_the_answer_is_the_mean_over_runs_and_views(manifest: Manifest, runs: dict[str, Path]) -> None:
    views = ["plain", "mirrored", "whole", "whole-mirrored"]
    parts = [ask(manifest, runs, [name], [view]) for name in ("first", "smaller") for view in views]
    found = ask(manifest, runs, ["first", "smaller"], views)
    np.testing.assert_allclose(found.probs, np.mean([part.probs for part in parts], axis=0), atol=1e-6)
    assert found.paths == parts[0].paths
    assert all(found.columns["predicted_age"])  # of the one that has years
    assert np.abs(parts[0].probs - parts[1].probs).max() > 1e-4  # a mirrored face is another image


def test_a_model_of_whole_images_is_asked_once_for_each_view(
    manifest: Manifest, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ensemble, "ask", lambda *args: asked.append(1) or answers(*args))
    found = ask(manifest, runs, ["first"], ["whole", "plain"])
    assert len(asked) == 1
    np.testing.assert_array_equal(found.probs, ask(manifest, runs, ["first"], ["plain"]).probs)


def test_what_a_frozen_network_makes_of_a_face_is_kept_from_its_training(
    manifest: Manifest, tmp_path: Path
) -> None:
    config = replace(SMALL, epochs=0, head_epochs=1)
    held = train(manifest, config, tmp_path / "frozen", cache_dir=tmp_path)
    assert held is not None
    kept, asked = (
        ask_together(manifest, [tmp_path / "frozen"], ["plain"], cache_dir=folder)
        for folder in (tmp_path, tmp_path / "fresh")
    )
    np.testing.assert_allclose(kept.probs, held.probs, atol=1e-6)
    np.testing.assert_allclose(kept.probs, asked.probs, atol=2e-3)  # kept in half precision
    assert np.abs(kept.probs - asked.probs).max() > 0


def test_bfloat16_answers_as_float32_does(manifest: Manifest, runs: dict[str, Path]) -> None:
    """As a transformer is asked where the processor has bfloat16, here by emulation if it has not."""
    model = load_checkpoint(runs["smaller"])[0]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact, rounded = (
        ensemble.ask(found, pixels, np.arange(4))
        for found in (ensemble._open_model(model), ensemble._HalfModel(model))
    )
    assert exact.keys() == rounded.keys() == {"probs", "years"}
    for name, values in exact.items():
        np.testing.assert_allclose(rounded[name], values, atol=0.02)


def test_runs_of_other_people_are_refused(manifest: Manifest, runs: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="other rows"):
        ask(manifest, runs, ["first", "other fold"], ["plain"])


@pytest.mark.parametrize("views", [["sideways"], []])
def test_an_unknown_view_is_refused(manifest: Manifest, runs: dict[str, Path], views: list[str]) -> None:
    with pytest.raises(ConfigError, match="whole-mirrored"):
        ask(manifest, runs, ["first"], views)


def test_a_folder_that_is_no_run_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        ask_together(manifest, [tmp_path])


def test_only_some_rows_may_be_asked(manifest: Manifest, runs: dict[str, Path]) -> None:
    cache_dir = runs["first"].parent
    everything = ask(manifest, runs, ["first"], ["plain"])
    person = everything.columns["identity"][0]
    found = ask_together(manifest, [runs["first"]], only=("identity", person), cache_dir=cache_dir)
    assert set(found.columns["identity"]) == {person}
    assert len(found) < len(everything)
    with pytest.raises(DataError, match="identity=nobody"):
        ask_together(manifest, [runs["first"]], only=("identity", "nobody"), cache_dir=cache_dir)
