"""The script that measures a GPU, in a small size on the CPU: time for it is short where there is a GPU."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import gpu
import gpu_training
import numpy as np
import pytest

from threeages.studies.recipes import create_recipe
from threeages.training import compiling, frozen


@pytest.fixture(autouse=True)
def compiler_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", compiling.BACKEND)


def _run(monkeypatch: pytest.MonkeyPatch, out: Path, *args: str) -> list[dict[str, str]]:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--out", str(out), *args])
    gpu.main()
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_part_runs_and_writes_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frozen, "gains_by_bfloat16", lambda _: True)  # by torch: an export takes seconds
    monkeypatch.setattr(gpu, "NETWORKS", {"reference-cnn": gpu.NETWORKS["reference-cnn"]})  # one costs less
    np.save(pixels := tmp_path / "pixels.npy", gpu_training.draw_pixels(9, 64))
    rows = _run(monkeypatch, tmp_path / "gpu.csv", "--quick", "--pixels", str(pixels))
    assert "Nothing was left out." in capsys.readouterr().out
    found = {row["measure"]: row for row in rows}
    assert len(found) == len(rows) == 11
    assert all(float(row["ours"]) >= 0 and "a test of the script" in row["details"] for row in rows)
    compiled = [row for row in rows if row["measure"].endswith("bf16-mixed, compiled")]
    assert ["s longer" in row["details"] for row in compiled] == [True]
    assert all("of the measured rate" in row["details"] for row in rows if "training the" in row["measure"])
    assert found["the default recipe, whole training"]["unit"] == "minutes"
    assert "computed" in found["the default recipe, whole training"]["details"]


def test_a_part_without_time_and_one_that_fails_cost_no_other_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: gpu.Benchmark) -> None:
        raise MemoryError("CUDA out of memory.\nTried to allocate 9 GiB")

    def write(bench: gpu.Benchmark) -> None:
        bench.add("something", "images/s", 2.0, "details", share=0.5)

    parts = [("too long", 10.0, fail), ("too large", 1.0, fail), ("well", 1.0, write)]
    monkeypatch.setattr(gpu, "list_parts", lambda _: parts)
    monkeypatch.setattr(gpu, "load_pixels", lambda *_, **__: np.zeros((1, 8, 8, 3), np.uint8))
    (row,) = _run(monkeypatch, tmp_path / "gpu.csv", "--seconds", "5")
    assert (row["measure"], row["details"]) == (
        "something", "CPU; 50.0% of the measured rate of matrix products; details",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "too long: 5 seconds are left, 10 are needed" in said
    assert "too large: MemoryError: CUDA out of memory.\n" in said


def test_pixels_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.save(path := tmp_path / "pixels.npy", np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(SystemExit, match="uint8"):
        gpu.load_pixels(path, quick=True)


def test_operations_are_counted_of_what_learns() -> None:
    cnn = gpu_training.simplify(create_recipe("reference-cnn"), "32-true")
    forward = 2 * sum(  # of the four-block network: kernel, channels in and out, and places of every layer
        k * i * o * side**2
        for k, i, o, side in ((9, 3, 32, 126), (9, 32, 64, 61), (9, 64, 128, 28), (9, 128, 128, 12))
    )
    found = gpu_training.count_operations(cnn)
    assert found == pytest.approx(3 * forward, rel=0.02)  # the dense layers are a little more
    partly = gpu_training.simplify(create_recipe("fine-tuned"), "32-true")
    whole = gpu_training.count_operations(replace(partly, unfreeze=None))
    assert whole / 3 < gpu_training.count_operations(partly) < whole
    assert gpu_training.count_operations(partly, learns=False) == pytest.approx(whole / 3, rel=0.02)
