"""What ends a training, in a sentence, before any image is read."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from threeages.data.checks import check_split
from threeages.data.manifest import Manifest, load_manifest
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.labels import AGE_GROUPS, UNKNOWN, label_index
from threeages.studies.ensemble import predict_ensemble
from threeages.training.build import create_model, drop_missing_heads
from threeages.training.checks import check_input, check_labels, check_rows, normalizes_batches
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.distill import run_distillation
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


def _relabel(manifest: Manifest, rows: Sequence[int], **cells: str) -> Manifest:
    """The manifest with other cells in some rows: `label` 'YOUNG' or '', any other name a column."""
    labels, columns = manifest.labels.copy(), dict(manifest.columns)
    for name, value in cells.items():
        if name == "label":
            labels[np.asarray(rows)] = label_index(value) if value else UNKNOWN
        else:
            old = columns.get(name, ("",) * len(manifest))
            columns[name] = tuple(value if i in set(rows) else cell for i, cell in enumerate(old))
    return Manifest(manifest.root, manifest.paths, labels, columns)


def _side(manifest: Manifest, name: str, **settings: Any) -> list[int]:
    config = TrainConfig(**{**SMALL, **settings})
    split = check_split(manifest, config.split, fold=config.fold, folds=config.folds, seed=config.seed)
    rows: list[int] = getattr(split, name).tolist()
    return rows


ALL = range(120)
IDENTITY = {"split": "identity", "folds": 3}


@pytest.mark.parametrize(
    ("settings", "side", "cells", "words"),
    [
        ({}, None, {"label": ""}, "None of 120 rows has a label"),
        ({"extra_heads": {"years": 0.5}}, None, {"label": ""}, "None of 120 rows has a label"),
        ({"split": "none"}, None, {"label": "OLD"}, "Every labelled row is OLD"),
        ({}, "train", {"label": ""}, "None of 96 train rows has a label"),
        ({}, "train", {"label": "OLD"}, "Every labelled train row is OLD"),
        (IDENTITY, "train", {"label": "OLD"}, "Every labelled train row of fold 0 is OLD"),
        (IDENTITY, "validation", {"label": ""}, r"None of \d+ validation rows of fold 0 has a label"),
        (IDENTITY, "test", {"label": ""}, r"None of \d+ test rows of fold 0 has a label"),
        ({}, "test", {"label": ""}, r"None of 24 \w+ rows has a label"),
        ({"extra_heads": {"years": 1}}, None, {"age": ""}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "nan"}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "-4"}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "inf"}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "200"}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "old"}, "column age holds no ages in years"),
        ({"extra_heads": {"years": 1}}, None, {"age": "30"}, "column age holds nothing but 30"),
        ({"extra_heads": {"years": 1}}, "train", {"age": ""}, "In the train rows the column age holds no"),
        ({"extra_heads": {"gender": 1}}, None, {}, "no column gender"),
        ({"extra_heads": {"gender": 1}}, None, {"gender": ""}, "column gender holds no values"),
        ({"extra_heads": {"gender": 1}}, None, {"gender": "male"}, "column gender holds nothing but male"),
        ({"extra_heads": {"identity": 1}}, "train", {"identity": "i"}, "nothing but i;"),
        ({"split": "identity", "folds": 25}, None, {}, "it allows at most 24"),
    ],
)  # fmt: skip
def test_labels_that_cannot_train_end_in_a_sentence_before_any_work(
    settings: dict[str, Any],
    side: str | None,
    cells: dict[str, str],
    words: str,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("threeages.training.run.create_model", lambda *_: pytest.fail("built a model"))
    plain = {name: value for name, value in settings.items() if name != "extra_heads"}
    rows = ALL if side is None else _side(manifest, side, **plain)
    changed = _relabel(manifest, rows, **cells)
    if side and "split" in settings:  # the labels decide the split: keep the rows that it had
        monkeypatch.setattr("threeages.training.checks.check_split", lambda *_, **__: check_split(
            manifest, settings["split"], folds=settings["folds"]))  # fmt: skip
    with pytest.raises(ThreeAgesError, match=words) as raised:
        _run(changed, tmp_path, monkeypatch, **settings)
    assert raised.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "rows", "cells", "words"),
    [
        (IDENTITY, [0], {"age": "abc"}, "has an age that is no number of years from 0 to 122 ('abc')"),
        (IDENTITY, range(3), {"age": "900"}, "3 rows, first"),
        (IDENTITY, [0], {"label": "OLD", "age": "0"}, "contradicts the age of the other rows (OLD at 0)"),
        ({"extra_heads": {"mood": 1}}, None, {"mood": "sad"}, "No test row has a value for mood"),
    ],
)  # fmt: skip
def test_labels_that_train_in_part_are_warned_of(
    settings: dict[str, Any],
    rows: Sequence[int] | None,
    cells: dict[str, str],
    words: str,
    manifest: Manifest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if rows is None:
        train = _side(manifest, "train")
        manifest, rows = _relabel(manifest, train[:5], mood="glad"), train[5:]
    said = check_labels(_relabel(manifest, rows, **cells), TrainConfig(**{**SMALL, **settings}))
    assert any(words in sentence for sentence in said)
    assert all(sentence in caplog.text for sentence in said)


def test_a_fold_whose_validation_rows_lack_an_age_group_is_named(manifest: Manifest) -> None:
    lacking = {
        fold: [name for i, name in enumerate(AGE_GROUPS) if i not in manifest.labels[rows]]
        for fold in range(5)
        for rows in [check_split(manifest, fold=fold).validation]
    }
    assert any(lacking.values())
    for fold, names in lacking.items():
        said = check_labels(manifest, TrainConfig(**{**SMALL, "split": "identity", "fold": fold}))
        words = f"No validation row of fold {fold} is {' or '.join(names)}."
        assert any(sentence.startswith(words) for sentence in said) == bool(names)


def test_two_folds_and_rows_without_a_label_train(manifest: Manifest) -> None:
    config = TrainConfig(**{**SMALL, "split": "identity", "folds": 2, "extra_heads": {"years": 1}})
    check_labels(_relabel(manifest, range(0, 120, 5), label=""), config)


def test_rows_without_a_label_choose_no_epoch_but_the_last_may_be_kept(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = check_split(manifest)
    monkeypatch.setattr("threeages.training.checks.check_split", lambda *_, **__: split)
    unlabelled = _relabel(manifest, split.validation.tolist(), label="")
    settings = {**SMALL, "split": "identity"}
    with pytest.raises(DataError, match="validation rows of fold 0 has a label"):
        check_labels(unlabelled, TrainConfig(**settings))
    with pytest.raises(DataError, match="validation rows of fold 0 has a label"):
        check_labels(unlabelled, TrainConfig(**settings, keep_last=True, calibrate=True))
    said = check_labels(unlabelled, TrainConfig(**settings, keep_last=True))
    assert any("No validation row of fold 0 has a label." in sentence for sentence in said)


def test_a_recipe_loses_the_heads_that_have_nothing_to_learn(
    manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(**SMALL, extra_heads={"years": 1, "gender": 1, "identity": 1})
    kept = drop_missing_heads(config, _relabel(manifest, ALL, age="nan", gender="male"))
    assert kept.extra_heads == {"identity": 1}
    assert "holds no ages in years" in caplog.text
    assert "The model gets no head for gender" in caplog.text


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


def test_a_distillation_is_checked_before_any_image_is_read(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threeages.training.distill.open_data", lambda *_: pytest.fail("read an image"))
    config = TrainConfig(**{**SMALL, "split": "identity", "folds": 25})
    with pytest.raises(DataError, match="allows at most 24"):
        next(run_distillation(manifest, config, DistillConfig(), tmp_path / "out"))
    few = replace(config, folds=3)
    with pytest.raises(DataError, match="No row has source=film"):
        next(run_distillation(manifest, few, DistillConfig(), tmp_path / "out", only=("source", "film")))


def test_an_ensemble_needs_a_labelled_test_row(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threeages.studies.ensemble.open_data", lambda *_: pytest.fail("read an image"))
    member = SimpleNamespace(config=TrainConfig(**SMALL))
    monkeypatch.setattr("threeages.studies.ensemble._open_member", lambda _: member)
    with pytest.raises(DataError, match="None of 24 test rows has a label"):
        predict_ensemble(_relabel(manifest, ALL, label=""), [tmp_path])
