import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.data.cache import open_cache, open_near_duplicates
from threeages.data.manifest import load_manifest
from threeages.data.stored.entries import LOCKS, hold_entry
from threeages.data.stored.listed import find_stored, remove_stored
from threeages.data.stored.opening import open_stored
from threeages.errors import DataError

HEX = "0123456789abcdef01234567"
KEYS = [f"{kind}-{HEX}" for kind in ("pixels", "features", "near")]

USE = """
import sys, time
from pathlib import Path
import numpy as np
from threeages.data.stored.opening import open_stored
entry = open_stored(Path(sys.argv[1]), None)
print("open", flush=True)
time.sleep(60)
"""


def build(part: Path) -> None:
    np.save(part / "a.npy", np.zeros(1 << 20))


def run(folder: Path, *args: str) -> str:
    done = CliRunner().invoke(app, ["data", "cache", "--cache-dir", str(folder), *args])
    assert done.exit_code == 0, done.output
    return done.output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCKS)


def test_what_is_cached_is_found_and_only_that_deleted(faces_csv: Path, tmp_path: Path) -> None:
    cache = open_cache(load_manifest(faces_csv), 32, folder=tmp_path)
    open_near_duplicates(cache)
    del cache
    for name in (f"features-{HEX}", f"pixels-{HEX}.part", f"pixels-{HEX}.removed"):
        (tmp_path / name).mkdir()
    mine = ["mine", "mine.part", "pixels-mine", "pixels.npy"]
    for name in mine:
        (tmp_path / name).mkdir()
    found = find_stored(tmp_path)
    assert found[0].size > (found[0].path / "pixels.npy").stat().st_size
    assert sorted(stored.path.name.split("-")[0] for stored in found) == [
        "features", "near", "pixels", "pixels", "pixels",
    ]  # fmt: skip
    assert [stored.path.name for stored in found if stored.unfinished] == [f"pixels-{HEX}.part"]
    assert remove_stored(found) == []
    assert names(tmp_path) == mine


def test_the_command_lists_first_and_deletes_on_demand(tmp_path: Path) -> None:
    open_stored(tmp_path / KEYS[0], build)
    assert KEYS[0] in run(tmp_path)
    assert (tmp_path / KEYS[0]).exists()
    shown = run(tmp_path, "--clear")
    assert KEYS[0] in shown
    assert shown.splitlines()[-1] == "All of it is deleted."
    assert names(tmp_path) == []


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    for number in range(25):
        open_stored(tmp_path / f"pixels-{number:024x}", lambda part: (part / "a").touch())
    shown = run(tmp_path).splitlines()
    assert len(shown) == 22
    assert "in 5 smaller ones; --all lists them" in shown[20]
    assert len(run(tmp_path, "--all").splitlines()) == 26


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_clearing_keeps_what_another_process_uses_and_says_so(tmp_path: Path) -> None:
    for key in KEYS:
        open_stored(tmp_path / key, build)
    command = [sys.executable, "-c", USE, str(tmp_path / KEYS[0])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shown = run(tmp_path, "--clear")
        process.kill()
    deleted, kept = shown.split("All of it is deleted.\nKept, because other processes use it:\n")
    assert [str(tmp_path / key) in deleted for key in KEYS] == [False] + [True] * (len(KEYS) - 1)
    assert [str(tmp_path / key) in kept for key in KEYS] == [True] + [False] * (len(KEYS) - 1)
    assert names(tmp_path) == [KEYS[0]]
    assert "Kept" not in run(tmp_path, "--clear")
    assert names(tmp_path) == []


def test_clearing_keeps_what_is_being_built(tmp_path: Path) -> None:
    started, done = threading.Event(), threading.Event()

    def wait(part: Path) -> None:
        build(part)
        started.set()
        done.wait(30)

    thread = threading.Thread(target=open_stored, args=(tmp_path / KEYS[0], wait))
    thread.start()
    started.wait(30)
    shown = run(tmp_path, "--clear")
    done.set()
    thread.join()
    assert "(unfinished)" in shown
    assert "Kept, because other processes use it" in shown
    assert names(tmp_path) == [KEYS[0]]


def test_two_clear_at_once(tmp_path: Path) -> None:
    for key in KEYS:
        open_stored(tmp_path / key, build)
    entries = find_stored(tmp_path)
    shutil.rmtree(entries[0].path)  # the other was faster with one
    with hold_entry(entries[1].path):  # and deletes the second
        kept = remove_stored(entries)
    assert kept == [entries[1]]
    assert remove_stored(entries) == []
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["absent", "file"])
def test_a_folder_without_caches_is_empty(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "0 bytes  in all" in run(tmp_path / place, "--clear")


def test_a_folder_that_vanishes_is_nothing_to_delete(tmp_path: Path) -> None:
    open_stored(tmp_path / "cache" / KEYS[0], build)
    entries = find_stored(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert remove_stored(entries) == []


def test_a_folder_that_can_only_be_read_is_said(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(20)
    open_stored(folder / KEYS[0], build)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(DataError, match="Read-only file system"):
        remove_stored(find_stored(folder))
    assert KEYS[0] in run(folder)
