"""The pixel cache beside kills, damage, full disks and other processes."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from threeages.data import cache
from threeages.data.cache import open_cache, open_near_duplicates
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.stored import partial
from threeages.data.stored.entries import LOCKS
from threeages.errors import DataError

BUILD = """
import sys, time
from pathlib import Path
from threeages.data import cache
from threeages.data.stored import partial
from threeages.data.manifest import load_manifest
cache.CHUNK, partial.SAVE_SECONDS = 10, 0.0
fill = cache._fill_chunk
def note(task):
    time.sleep(0.03)
    with open(sys.argv[3], "a") as file:
        file.write(f"{task[1]}\\n")
    return fill(task)
cache._fill_chunk = note
found = cache.open_cache(load_manifest(Path(sys.argv[1])), 32, copies=2, folder=Path(sys.argv[2]), workers=1)
print(found.file)
"""


def start(manifest: Path, folder: Path, log: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILD, str(manifest), str(folder), str(log)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCKS)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_build_killed_at_any_moment_resumes_to_the_same_bytes(
    seed: int, faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CHUNK", 10)
    log, rng = tmp_path / "log", random.Random(seed)
    done = 0
    for _ in range(3):  # of 12 chunks
        with start(faces_csv, tmp_path / "killed", log) as process:
            goal = done + rng.randint(1, 3)
            while process.poll() is None and _count(log) < goal:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.03)
            process.kill()
        done = _count(log)
    with start(faces_csv, tmp_path / "killed", log) as process:
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "kept" in stderr
    assert _count(log) <= 12 + 2 * 3  # a kill costs the chunk at work, and one not recorded yet
    whole = open_cache(load_manifest(faces_csv), 32, copies=2, folder=tmp_path / "whole", workers=1)
    assert contents(Path(stdout.strip()).parent) == contents(whole.file.parent)
    assert names(tmp_path / "killed") == [whole.file.parent.name]


def _count(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_two_that_need_the_same_pixels_build_them_once(faces_csv: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [start(faces_csv, tmp_path / "cache", log) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert _count(log) == 12


FILES = ["pixels.npy", "digests.npy", "thumbnails.npy", "failed.json", ".checksums.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["halved", "zeroed", "flipped", "missing"])
def test_damaged_pixels_are_said_and_built_again(
    name: str, damage: str, faces_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = load_manifest(faces_csv).select(np.arange(4))
    whole = open_cache(few, 32, folder=tmp_path)
    expected = contents(whole.file.parent)
    _damage(whole.file.parent / name, damage)
    again = open_cache(few, 32, folder=tmp_path)
    assert contents(again.file.parent) == expected
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"is damaged ({name})" in caplog.text


def _damage(path: Path, kind: str) -> None:
    data = path.read_bytes()
    if kind == "missing":
        return path.unlink()
    kinds = {
        "halved": data[: len(data) // 2],
        "zeroed": bytes(len(data)),
        "flipped": data[:-1] + bytes([data[-1] ^ 1]),
    }
    path.unlink()  # what is mapped keeps its own
    path.write_bytes(kinds[kind])
    return None


@pytest.mark.parametrize("name", ["pairs.npy", "likeness.npy", ".checksums.json"])
def test_damaged_near_duplicates_are_said_and_found_again(
    name: str, faces_csv: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_cache(load_manifest(faces_csv).select(np.arange(20)), 32, folder=tmp_path)
    found = open_near_duplicates(opened)
    (entry,) = tmp_path.glob("near-*")
    _damage(entry / name, "flipped")
    again = open_near_duplicates(opened)
    assert (again.pairs == found.pairs).all()
    assert f"is damaged ({name})" in caplog.text


@pytest.fixture
def big(tmp_path: Path) -> Callable[[], Manifest]:
    """Images that take 3 MB as 64 px with 2 copies."""

    def create() -> Manifest:
        from threeages.data.synthetic import write_face_set

        return load_manifest(write_face_set(tmp_path / "big", identities=26, per_identity=5, size=32))

    return create


def test_a_disk_that_is_too_small_is_said_before_an_image_is_read(
    big: Callable[[], Manifest], small_disk: Callable[[int], Path]
) -> None:
    folder = small_disk(2)
    with pytest.raises(DataError, match=r"pixels-\w+: the disk is full; it needs 3\.6 MB, and .* free"):
        open_cache(big(), 64, copies=2, folder=folder, workers=2)
    assert names(folder) == []


def test_a_disk_that_fills_while_the_workers_read_ends_in_a_sentence(
    big: Callable[[], Manifest], small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room was there when it was looked at: the pixels have their place, the rest meets a full disk."""
    folder, manifest = small_disk(5), big()

    def take_the_rest(_: Path) -> None:
        with suppress(OSError), (folder / "other").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass

    with monkeypatch.context() as patch:
        patch.setattr(partial, "SAVE_SECONDS", 0.0)
        patch.setattr(partial, "flush_to_disk", take_the_rest)
        with pytest.raises(DataError, match=r"pixels-.*: the disk is full; it needs .*, and .* free"):
            open_cache(manifest, 64, copies=2, folder=folder, workers=2)
        (folder / "other").unlink()
        patch.setattr(cache, "_fill_chunk", None)  # what was finished stays
        found = open_cache(manifest, 64, copies=2, folder=folder, workers=1)
    expected = open_cache(manifest, 64, copies=2, folder=folder.parent / "large", workers=1)
    assert (found.pixels == expected.pixels).all()
    assert names(folder) == [found.file.parent.name]


def _die(task: cache.Task) -> tuple[int, dict[str, str]]:
    if task[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return cache._fill_chunk(task)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_worker_that_the_system_ends_is_said(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_manifest(faces_csv)
    monkeypatch.setattr(cache, "CHUNK", 30)
    monkeypatch.setattr(cache, "_fill_chunk", _die)
    with pytest.raises(DataError, match="ended a process that shared the work") as failure:
        open_cache(manifest, 32, folder=tmp_path, workers=2)
    assert "what was finished is kept" in failure.value.hint
    assert isinstance(failure.value.__cause__, BrokenProcessPool)
    monkeypatch.undo()
    monkeypatch.setattr(cache, "CHUNK", 30)
    found = open_cache(manifest, 32, folder=tmp_path, workers=1)
    assert (found.pixels == open_cache(manifest, 32, folder=tmp_path / "whole", workers=1).pixels).all()
