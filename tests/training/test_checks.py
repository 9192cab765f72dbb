"""What ends a training, in a sentence, before any image is read."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threeages.data.checks import check_split
from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.training.build import create_model
from threeages.training.checks import check_input, check_labels, check_rows, normalizes_batches
from threeages.training.config import TrainConfig
from threeages.training.run import run_training

SMALL: dict[str, Any] = {"model": "cnn", "input_size": 48, "epochs": 1, "split": "random"}


@pytest.fixture
def manifest(faces_csv: Path) -> Manifest:
    return load_manifest(faces_csv)


def _of(manifest: Manifest, labels: Sequence[int]) -> Manifest:
    return manifest.select(np.flatnonzero(np.isin(manifest.labels, labels)))


def _run(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    monkeypatch.setattr("threeages.training.build.open_faces", lambda *_, **__: pytest.fail("read an image"))
    run_training(manifest, TrainConfig(**{**SMALL, **settings}), tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "labels", "rows", "words"),
    [
        ({"input_size": 32}, (0, 1, 2), None, r"32 px(.|\n)*at least 46"),
        ({"split": "identity", "folds": 100}, (0, 1, 2), None, "at most 24"),
        ({}, (0,), None, "Every labelled row is YOUNG"),
        ({}, (), None, "0 rows"),
        ({}, (0, 1, 2), 1, "1 row; a random split needs at least 2"),
        ({"split": "identity"}, (0, 1, 2), 1, "allows at most 1"),
        ({"split": "none"}, (0, 1, 2), 1, "at least two age groups"),
        ({"model": "mobilenet_v1_face", "input_size": 64, "batch_size": 1}, (0, 1, 2), None, "--batch-size"),
    ],
)
def test_it_ends_in_a_sentence_before_any_image_is_read(
    settings: dict[str, Any],
    labels: tuple[int, ...],
    rows: int | None,
    words: str,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = _of(manifest, labels)
    chosen = chosen if rows is None else chosen.select(np.arange(rows))
    with pytest.raises(ThreeAgesError, match=words):
        _run(chosen, tmp_path, monkeypatch, **settings)
    assert not (tmp_path / "run").exists()


def test_an_input_that_is_too_small_names_the_least_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("attention_cnn", "resnet50", "mobilenet_v2", "mobilenet_v1_face"):
        check_input(create_model(TrainConfig(model=name, input_size=32, weights="random")))
    model = create_model(TrainConfig(model="cnn_lstm", input_size=32))
    training = model.training
    create_model(TrainConfig(model="cnn", input_size=46))
    with pytest.raises(ConfigError, match=r"cnn_lstm cannot take images of 32 px(.|\n)*at least 48"):
        check_input(model)
    assert model.training == training
    check_input(create_model(TrainConfig(model="cnn_lstm", input_size=48)))


def test_a_class_without_images_is_warned_of(
    manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="threeages"):
        run_training(_of(manifest, (0, 1)), TrainConfig(**SMALL), tmp_path / "run", cache_dir=tmp_path)
    assert "No train row is OLD" in caplog.text
    assert caplog.text.count("No train row is OLD") == 1  # not again once the images are read
    caplog.clear()
    check_labels(manifest, TrainConfig(**SMALL))
    assert caplog.text == ""


def test_one_class_trains_where_a_further_head_learns(manifest: Manifest) -> None:
    config = TrainConfig(**SMALL, extra_heads={"years": 0.5})
    said = check_labels(_of(manifest, (0,)), config)
    assert any("No train row is MIDDLE or OLD" in sentence for sentence in said)


def test_a_last_batch_of_one_image_trains(manifest: Manifest, tmp_path: Path) -> None:
    config = TrainConfig(model="mobilenet_v1_face", input_size=32, epochs=0, head_epochs=1, split="none",
                         batch_size=8, weights="random", frozen_cache=False)  # fmt: skip
    model = create_model(config)
    assert normalizes_batches(model)
    run_training(manifest.select(np.arange(17)), config, tmp_path / "run", cache_dir=tmp_path)
    with pytest.raises(DataError, match="needs at least 2"):
        check_rows(model, np.arange(1))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_split_checks_its_seed(manifest: Manifest, seed: int) -> None:
    with pytest.raises(ConfigError, match=f"seed was {seed}"):
        check_split(manifest, "random", seed=seed)
    with pytest.raises(ConfigError, match=f"seed is {seed}"):
        TrainConfig(seed=seed)
