"""6 + 2 steps are 8, bit for bit: a training that is stopped within an epoch resumes as if it were not."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.training import autosave, loop
from threeages.training.build import create_data, create_model, create_task, open_data
from threeages.training.config import TrainConfig
from threeages.training.loop import train_epochs
from threeages.training.run_folder import write_run
from threeages.training.state_file import Content, read_content

# batch norm and dropout, mirrored and augmented images, averaged weights: whatever draws or remembers
BUSY = TrainConfig(
    model="attention_cnn",
    input_size=32,
    batch_size=8,
    epochs=2,
    flip=True,
    augmented_copies=3,
    ema=0.9,
    lr_decay=0.5,
    extra_heads={"years": 0.5},
)
# the head phase on frozen features, and the one behind it
PHASES = replace(BUSY, flip=False, head_epochs=1, epochs=1, unfreeze=2)
TIMES = {"seconds", "images_per_second"}


class _Stopped(BaseException):
    """Stands for the kill: nothing catches it."""


@pytest.fixture(autouse=True)
def save_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autosave, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(autosave, "SAVE_SHARE", math.inf)


@pytest.fixture
def configs(encoder: Path) -> dict[str, TrainConfig]:
    teacher = replace(BUSY, teacher=str(encoder), optimizer="rmsprop")
    return {"labels": BUSY, "teacher": teacher, "frozen": PHASES}


def _train(
    manifest: Manifest, config: TrainConfig, run: Path, cache_dir: Path, steps: int | None = None
) -> list[dict[str, Any]]:
    """The metrics of the epochs; stopped before the step behind `steps`, as a kill would."""
    model = create_model(config, manifest)
    cache, split = open_data(manifest, config, cache_dir)
    data = create_data(manifest, model, cache, cache_dir)
    task, data = create_task(model, manifest, config, split, data, cache_dir)
    left = iter(range(steps if steps is not None else 10**6))

    def step(*args: Any) -> float:
        if next(left, None) is None:
            raise _Stopped
        return original(*args)

    original = loop._train_step
    loop._train_step = step
    try:
        return list(train_epochs(task, data, split, config, run))
    except _Stopped:
        return []
    finally:
        loop._train_step = original


def _state(run: Path) -> Content:
    return read_content(run / "last.ckpt", "")


def _find_differences(one: Any, two: Any, name: str = "") -> Iterator[str]:
    """Where two states differ in a bit, but for times."""
    if isinstance(one, dict) and isinstance(two, dict):
        if one.keys() != two.keys():
            yield f"{name}: {one.keys() ^ two.keys()}"
        for key in (one.keys() & two.keys()) - TIMES:
            yield from _find_differences(one[key], two[key], f"{name}.{key}")
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        for i, pair in enumerate(zip(one, two, strict=True)):
            yield from _find_differences(*pair, f"{name}[{i}]")
    elif isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        if not torch.equal(one, two) or one.dtype != two.dtype:
            yield name
    elif one != two:
        yield f"{name}: {one} and {two}"


@pytest.mark.parametrize(
    "kind",
    [
        "labels",
        pytest.param("teacher", marks=pytest.mark.slow),
        pytest.param("frozen", marks=pytest.mark.slow),
    ],
)
def test_six_and_two_steps_are_eight_bit_for_bit(
    kind: str, configs: dict[str, TrainConfig], manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    config = configs[kind]
    _train(manifest, config, tmp_path / "eight", cache_dir, 8)
    for steps in (6, 2):
        _train(manifest, config, tmp_path / "stopped", cache_dir, steps)
    eight, stopped = _state(tmp_path / "eight"), _state(tmp_path / "stopped")
    assert eight["within"]["step"] == 8
    assert eight["within"]["random"].keys() >= {"numpy", "torch"}
    assert list(_find_differences(eight, stopped)) == []
    whole = _train(manifest, config, tmp_path / "whole", cache_dir)
    _train(manifest, config, tmp_path / "stopped", cache_dir, 7)  # into the second epoch
    assert len(_state(tmp_path / "stopped")["history"]) == 1
    rest = _train(manifest, config, tmp_path / "stopped", cache_dir)
    assert list(_find_differences(_state(tmp_path / "whole"), _state(tmp_path / "stopped"))) == []
    assert list(_find_differences(whole[1:], rest)) == []


def test_the_same_holds_where_the_save_before_is_some_steps_old(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done behind the save is done again, from its state and not from a later one."""
    whole = _train(manifest, BUSY, tmp_path / "whole", cache_dir)
    calls = iter(range(10**6))
    monkeypatch.setattr(autosave.SaveTimer, "is_due", lambda _: next(calls) % 4 == 3)
    for saved in (4, 10):
        _train(manifest, BUSY, tmp_path / "stopped", cache_dir, 6)
        assert _state(tmp_path / "stopped")["within"]["step"] == saved
    rest = _train(manifest, BUSY, tmp_path / "stopped", cache_dir)
    assert list(_find_differences(_state(tmp_path / "whole"), _state(tmp_path / "stopped"))) == []
    assert list(_find_differences(whole, rest)) == []


def test_the_last_epoch_is_saved_however_slow_that_is(
    manifest: Manifest, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("is_due", "is_affordable"):
        monkeypatch.setattr(autosave.SaveTimer, name, lambda _: False)
    _train(manifest, BUSY, tmp_path, cache_dir, 15)  # into the second epoch
    assert not (tmp_path / "last.ckpt").exists()
    rows = _train(manifest, BUSY, tmp_path, cache_dir)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert len(_state(tmp_path)["history"]) == 2


def test_times_count_the_work_before_the_stop_and_not_the_pause(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    _train(manifest, BUSY, tmp_path, cache_dir, 6)
    content = _state(tmp_path)
    assert content["within"]["images"] == 6 * BUSY.batch_size
    assert 0 < content["within"]["seconds"] < 500
    content["within"]["seconds"] = 1000.0
    write_run(tmp_path, content)
    resumed, whole = _train(manifest, BUSY, tmp_path, cache_dir)
    assert 1000 < resumed["seconds"] < 1500
    rows = [row["images_per_second"] * row["seconds"] for row in (resumed, whole)]
    assert rows[0] == pytest.approx(rows[1])


def test_a_batch_without_labels_changes_nothing(manifest: Manifest, cache_dir: Path, tmp_path: Path) -> None:
    labels = manifest.labels.copy()
    labels[np.arange(len(labels)) % 5 < 3] = -1
    few = Manifest(manifest.root, manifest.paths, labels, manifest.columns)
    config = TrainConfig(model="attention_cnn", input_size=32, batch_size=2, epochs=1)
    (row,) = _train(few, config, tmp_path, cache_dir)
    assert math.isfinite(row["train_loss"])
