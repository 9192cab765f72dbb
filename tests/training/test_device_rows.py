"""The code that keeps rows on a GPU, on the CPU: torch runs the same there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from threeages.data.split import Split
from threeages.models.heads import MAIN
from threeages.training import device_rows
from threeages.training.batches import TrainingData, keep_on_device, read_batch
from threeages.training.device_rows import keep_rows, move_rows
from threeages.training.frozen import FeatureSource

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
FEATURES = RNG.normal(size=(30, 5, 2, 2)).astype(np.float16)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A GPU with some free memory, whose rows are moved to the CPU."""
    memory = {"free": 10**9}
    monkeypatch.setattr(device_rows, "_free_memory", lambda device: memory["free"])
    monkeypatch.setattr(device_rows, "move_rows", lambda values, rows, device: move_rows(values, rows, CPU))
    return memory


@pytest.mark.parametrize("source", [FeatureSource(PIXELS), FeatureSource(FEATURES, 3)])
@pytest.mark.parametrize("chunk_bytes", [1, 500, 10**9])
def test_kept_rows_are_those_that_would_be_sent(
    source: FeatureSource, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_rows, "CHUNK_BYTES", chunk_bytes)
    kept = replace(source, kept=move_rows(source.values, np.array([2, 3, 5, 7, 11, 13, 29]), CPU))
    fabric = Fabric(accelerator="cpu", devices=1)
    rows = np.array([29, 2, 2, 11])
    mirrors = [None] if source.depth else [None, np.array([True, False, True, False])]
    for mirror in mirrors:
        (sent, depth), (found, same_depth) = (read_batch(fabric, s, rows, mirror) for s in (source, kept))
        assert torch.equal(sent, found)
        assert sent.dtype == found.dtype == (torch.float32 if depth else torch.uint8)
        assert depth == same_depth


def test_mirrored_images_are_mirrored_along_their_rows() -> None:
    chosen = np.array([True, False])
    x, _ = read_batch(Fabric(accelerator="cpu", devices=1), FeatureSource(PIXELS), np.array([4, 6]), chosen)
    assert np.array_equal(x.numpy(), np.stack([PIXELS[4][:, ::-1], PIXELS[6]]))


def test_a_row_that_was_not_moved_is_a_fault_and_not_another_image() -> None:
    with pytest.raises(AssertionError, match="not moved"):
        move_rows(PIXELS, np.array([1, 2]), CPU).select(np.array([1, 3]))


def test_a_processor_reads_rows_where_they_are() -> None:
    assert keep_rows(PIXELS, np.arange(30), CPU) is None


def test_rows_are_kept_where_they_fit(gpu: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    gpu["free"] = int(30 * 192 / device_rows.SHARE) + 1
    kept = keep_rows(PIXELS, np.repeat(np.arange(30), 2), GPU)
    assert kept is not None
    assert len(kept.values) == 30  # each once
    assert not caplog.records
    gpu["free"] -= 2
    assert keep_rows(PIXELS, np.arange(30), GPU) is None
    assert "sent batch by batch" in caplog.text


def test_memory_that_is_gone_meanwhile_costs_no_training(
    gpu: dict[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    caplog.set_level("INFO")
    monkeypatch.setattr(device_rows, "move_rows", fail)
    assert keep_rows(PIXELS, np.arange(30), GPU) is None
    assert "sent batch by batch" in caplog.text


def test_of_a_training_every_copy_is_kept_and_no_test_row(gpu: dict[str, int]) -> None:
    data = TrainingData(PIXELS, {MAIN: np.zeros(10, dtype=np.int64)}, b"")  # 10 images with 3 copies each
    split = Split(np.arange(6), np.array([6, 7]), np.array([8, 9]), 0)
    source = keep_on_device(FeatureSource(PIXELS), data, split, 3, GPU)
    assert source.kept is not None
    places = np.flatnonzero(source.kept.places != device_rows.ABSENT)
    assert places.tolist() == [*range(8), *range(10, 16), *range(20, 26)]
    one = keep_on_device(FeatureSource(PIXELS), data, split, 1, GPU)
    assert one.kept is not None
    assert len(one.kept.values) == 8
