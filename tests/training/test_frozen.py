"""The frozen-feature cache beside kills, damage and full disks."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.data.stored import partial
from threeages.data.stored.entries import LOCKS
from threeages.errors import DataError, ThreeAgesError
from threeages.models.classifier import Classifier, create_classifier
from threeages.models.registry import SIGNATURES
from threeages.training import frozen
from threeages.training.frozen import FeatureSource, find_features, open_features

COMPUTE = """
import sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from threeages.data.stored import partial
from threeages.models.classifier import create_classifier
from threeages.models.registry import SIGNATURES
from threeages.training import frozen
partial.SAVE_SECONDS, frozen.BATCH = 0.0, 4
create = frozen._create_runner
def note(module):
    run = create(module)
    print("ready", flush=True)
    def slow(batch):
        time.sleep(0.03)
        with open(sys.argv[2], "a") as file:
            file.write("batch\\n")
        return run(batch)
    return slow
frozen._create_runner = note
torch.manual_seed(0)
model = create_classifier(replace(SIGNATURES["attention_cnn"], input_size=32)).eval()
pixels = np.random.default_rng(0).integers(0, 256, (46, 32, 32, 3), dtype=np.uint8)
frozen.open_features(model, frozen.FeatureSource(pixels), b"", 1, Path(sys.argv[1]), 1)
"""


def start(folder: Path, log: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", COMPUTE, str(folder), str(log)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def count(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCKS)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A small one that runs by torch: to trace it for ONNX Runtime takes seconds."""
    cpu = torch.device("cpu")
    runner = lambda module: lambda batch: module.compute(batch, cpu).numpy()  # noqa: E731
    monkeypatch.setattr(frozen, "_create_runner", runner)
    return create_classifier(replace(SIGNATURES["attention_cnn"], input_size=32)).eval()


SOURCE = FeatureSource(np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_features_killed_at_any_moment_resume_to_the_same_bytes(seed: int, tmp_path: Path) -> None:
    log, rng, done = tmp_path / "log", random.Random(seed), 0
    for _ in range(2):  # of 12 batches
        with start(tmp_path / "killed", log) as process:
            goal = done + rng.randint(1, 4)
            while process.poll() is None and count(log) < goal:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.03)
            process.kill()
        done = count(log)
    for folder in ("killed", "whole"):
        with start(tmp_path / folder, log) as process:
            stderr = process.communicate(timeout=300)[1]
        assert process.returncode == 0, stderr
        assert ("kept" in stderr) == (folder == "killed")
    assert count(log) <= 2 * 12 + 2 * 2
    files = [next((tmp_path / folder).glob("features-*/features.npy")) for folder in ("killed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert names(tmp_path / "killed") == names(tmp_path / "whole")


@pytest.mark.parametrize("name", ["features.npy", ".checksums.json"])
@pytest.mark.parametrize("damage", ["halved", "zeroed", "flipped", "missing"])
def test_damaged_features_are_said_and_computed_again(
    name: str, damage: str, model: Classifier, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = np.array(open_features(model, SOURCE, b"", 1, tmp_path, 1).values)
    (entry,) = tmp_path.glob("features-*")
    data = (entry / name).read_bytes()
    (entry / name).unlink()
    flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    kinds = {"halved": data[: len(data) // 2], "zeroed": bytes(len(data)), "flipped": flipped}
    if damage in kinds:
        (entry / name).write_bytes(kinds[damage])
    assert find_features(model, b"", 1, tmp_path) is None
    assert (open_features(model, SOURCE, b"", 1, tmp_path, 1).values == expected).all()
    (said,) = (record.getMessage() for record in caplog.records)
    assert f"{entry} is damaged" in said


def test_what_was_computed_before_a_stop_is_used(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_features(model, SOURCE, b"", 1, tmp_path / "whole", 1)
    create, batches = frozen._create_runner, []

    def create_failing(module: frozen.StageSlice) -> Callable[..., object]:
        run = create(module)

        def count_batches(batch: np.ndarray) -> object:
            batches.append(len(batch))
            if len(batches) == 3:
                raise KeyboardInterrupt
            return run(batch)

        return count_batches

    monkeypatch.setattr(frozen, "_create_runner", create_failing)
    with pytest.raises(KeyboardInterrupt):
        open_features(model, SOURCE, b"", 1, tmp_path / "stopped", 1)
    again = open_features(model, SOURCE, b"", 1, tmp_path / "stopped", 1)
    assert batches == [32, 32, 6, 6]  # the third batch was stopped, and it alone is computed again
    assert (again.values == whole.values).all()


def test_values_that_do_not_fit_leave_nothing_behind(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest: list[int] = []
    check = frozen._check_range

    def fail_later(values: np.ndarray) -> None:
        largest.append(1)
        check(values if len(largest) < 3 else values + 1e6)

    monkeypatch.setattr(frozen, "_check_range", fail_later)
    with pytest.raises(ThreeAgesError, match="--no-frozen-cache"):
        open_features(model, SOURCE, b"", 1, tmp_path, 1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("room_is_checked", [True, False])
def test_a_full_disk_is_said_with_the_space_needed(
    room_is_checked: bool,
    model: Classifier,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, many = small_disk(1), FeatureSource(np.zeros((200, 32, 32, 3), np.uint8))
    if not room_is_checked:  # another program takes it just then
        monkeypatch.setattr(partial, "check_room", lambda *_: None)
    with pytest.raises(DataError, match=r"features-\w+: the disk is full; it needs [\d.]+ MB, .* free"):
        open_features(model, many, b"", 1, folder, 1)
    assert names(folder) == []
