import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from threeages.data.stored import entries
from threeages.data.stored.entries import CHECKSUMS, LOCKS, hold_entry, is_used, lock_file
from threeages.data.stored.listed import find_stored, remove_stored
from threeages.data.stored.opening import find_entry, open_stored
from threeages.data.stored.partial import PROGRESS, Rows, fill_rows
from threeages.errors import DataError
from threeages.files.atomic import LEFTOVER_SECONDS

VALUES = np.arange(1000)
KEY, OTHER = "pixels-" + "0" * 24, "features-" + "1" * 24

KILLED = """
import os, signal, sys, time
from pathlib import Path
from threeages.data.stored.opening import open_stored
def build(part):
    (part / "half").write_bytes(b"x" * 1000)
    print("building", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(sys.argv[2]))
entry = open_stored(Path(sys.argv[1]), build)
print("open", flush=True)
time.sleep(float(sys.argv[3]))
"""


def build(part: Path) -> None:
    np.save(part / "a.npy", VALUES)
    (part / "inner").mkdir()
    (part / "inner" / "b.json").write_text(json.dumps({"b": 1}))


def never(_: Path) -> None:
    pytest.fail("was built again")


def start(place: Path, building: float | str, opened: float = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", KILLED, str(place), str(building), str(opened)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCKS)


def test_an_entry_is_built_once_and_whole(tmp_path: Path) -> None:
    open_stored(tmp_path / KEY, build)
    assert names(tmp_path) == [KEY]
    again = open_stored(tmp_path / KEY, never)
    assert (again.map_array("a.npy") == VALUES).all()
    assert again.load_json("inner/b.json") == {"b": 1}


DAMAGE: dict[str, Callable[[Path], object]] = {
    "halved": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped": lambda path: path.write_bytes(_flip(path.read_bytes())),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "other json": lambda path: path.write_text("[1, 2]"),
    "no files": lambda path: path.write_text('{"files": {"a.npy": 3}}'),
}


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["a.npy", "inner/b.json", CHECKSUMS])
def test_whatever_is_damaged_is_said_once_and_built_again(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_stored(tmp_path / KEY, build)
    DAMAGE[damage](tmp_path / KEY / name)
    assert (open_stored(tmp_path / KEY, build).load_array("a.npy") == VALUES).all()
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / KEY} is damaged ({name}): it is built again when it is needed."
    ]
    open_stored(tmp_path / KEY, never)
    assert names(tmp_path) == [KEY]


@pytest.mark.parametrize("damage", ["a file", "an empty folder"])
def test_what_is_no_entry_at_all_is_replaced(damage: str, tmp_path: Path) -> None:
    place = tmp_path / KEY
    place.touch() if damage == "a file" else place.mkdir()
    open_stored(place, build)
    open_stored(place, never)


def test_a_kill_after_the_last_step_leaves_a_whole_entry(tmp_path: Path) -> None:
    open_stored(tmp_path / KEY, build)
    (tmp_path / KEY / PROGRESS).touch()  # the record of a build goes last
    open_stored(tmp_path / KEY, never)
    assert not (tmp_path / KEY / PROGRESS).exists()


def test_what_is_looked_for_is_found_only_if_whole(tmp_path: Path) -> None:
    place = tmp_path / KEY
    assert find_entry(place) is None
    assert not list(tmp_path.iterdir())  # looking leaves nothing
    open_stored(place, build)
    assert find_entry(place) is not None
    DAMAGE["zeroed"](place / "a.npy")
    assert find_entry(place) is None
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_build_leaves_nothing_to_the_next_start_of_any(tmp_path: Path) -> None:
    with start(tmp_path / OTHER, "kill") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert names(tmp_path) == [f"{OTHER}.part"]
    (tmp_path / f"{OTHER}.removed").mkdir()  # killed while it was deleted
    (tmp_path / "mine.part").mkdir()
    open_stored(tmp_path / KEY, build)
    assert names(tmp_path) == ["mine.part", KEY]


def test_who_waits_for_a_moment_only_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_stored(tmp_path / KEY, build)
    with hold_entry(tmp_path / KEY):
        thread = threading.Thread(target=open_stored, args=(tmp_path / KEY, never))
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
    thread.join()
    assert not caplog.records


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_who_needs_what_another_builds_waits_is_told_and_uses_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "PATIENCE", 0.1)
    with start(tmp_path / KEY, 1.0) as process:
        with caplog.at_level(logging.WARNING):
            entry = open_stored(tmp_path / KEY, never)
        assert (entry.path / "half").exists()
        assert f"Another process is at work on {tmp_path / KEY}: waiting" in caplog.text
    with start(tmp_path / OTHER, 60) as process:  # its part is not taken for a leftover
        open_stored(tmp_path / KEY, never)
        assert f"{OTHER}.part" in names(tmp_path)
        process.kill()


def _fill_two(part: Path, stop: BaseException) -> None:
    def fill(folder: Path, starts: object) -> object:
        for first in starts:  # type: ignore[attr-defined]
            np.load(folder / "a.npy", mmap_mode="r+")[first] = first
            yield first, {}
            if first == 1:
                raise stop

    fill_rows(part, Rows(4, 1, {"a.npy": (np.int64, (4,))}), fill, "title")  # type: ignore[arg-type]


def test_finished_rows_of_another_entry_stay_for_a_day(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_stored(tmp_path / OTHER, lambda part: _fill_two(part, KeyboardInterrupt()))
    part = tmp_path / f"{OTHER}.part"
    open_stored(tmp_path / KEY, build)
    assert names(tmp_path) == [part.name, KEY]
    os.utime(part / PROGRESS, (time.time() - LEFTOVER_SECONDS - 60,) * 2)
    open_stored(tmp_path / KEY, never)
    assert names(tmp_path) == [KEY]


@pytest.mark.parametrize(
    ("stop", "stays"),
    [(OSError(28, "No space left"), True), (DataError("x"), True), (KeyboardInterrupt(), True),
     (SystemExit(1), True), (ValueError("would come again"), False)],
)  # fmt: skip
def test_finished_rows_stay_where_the_next_start_can_use_them(
    stop: BaseException, stays: bool, tmp_path: Path
) -> None:
    expected = DataError if isinstance(stop, OSError) else type(stop)
    with pytest.raises(expected):
        open_stored(tmp_path / KEY, lambda part: _fill_two(part, stop))
    assert names(tmp_path) == ([f"{KEY}.part"] if stays else [])


def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        (part / "half").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=rf"Cannot write .*{KEY}: the disk is full; .* free"):
        open_stored(tmp_path / KEY, fail)
    assert names(tmp_path) == []


@pytest.mark.parametrize("level", ["folder", "above"])
def test_a_cache_folder_that_is_a_file_is_said(level: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / ("" if level == "folder" else "deeper") / KEY
    with pytest.raises(DataError, match="Cannot write"):
        open_stored(place, never)


def test_a_folder_that_vanishes_in_the_middle_is_said(tmp_path: Path) -> None:
    def vanish(part: Path) -> None:
        shutil.rmtree(tmp_path / "cache")
        np.save(part / "a.npy", VALUES)

    with pytest.raises(DataError, match="Cannot write"):
        open_stored(tmp_path / "cache" / KEY, vanish)
    entry = open_stored(tmp_path / "cache" / KEY, build)
    shutil.rmtree(tmp_path / "cache")
    for read in (entry.map_array, entry.load_array, entry.load_json):
        with pytest.raises(DataError, match="Cannot read"):
            read("a.npy")


def test_a_folder_that_can_only_be_read_is_read(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(1)
    open_stored(folder / KEY, build)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert (open_stored(folder / KEY, never).map_array("a.npy") == VALUES).all()
    assert find_entry(folder / KEY) is not None
    with pytest.raises(DataError, match="Cannot write"):
        open_stored(folder / OTHER, build)


def test_a_damaged_entry_in_a_folder_that_can_only_be_read_is_said(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(1)
    open_stored(folder / KEY, build)
    DAMAGE["flipped"](folder / KEY / "a.npy")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert find_entry(folder / KEY) is None
    with pytest.raises(DataError, match="Cannot write"):
        open_stored(folder / KEY, build)


def _used(place: Path) -> bool:
    with hold_entry(place):
        return is_used(place)


def test_an_entry_is_in_use_as_long_as_an_array_of_it_lives(tmp_path: Path) -> None:
    entry = open_stored(tmp_path / KEY, build)
    assert _used(tmp_path / KEY)
    view = entry.map_array("a.npy")[10:][5:]
    assert not isinstance(entry.load_array("a.npy"), np.memmap)
    del entry
    assert _used(tmp_path / KEY)
    del view
    assert not _used(tmp_path / KEY)
    assert not list((tmp_path / LOCKS / f"{KEY}.used").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_process_uses_nothing(tmp_path: Path) -> None:
    with start(tmp_path / KEY, 0, 60) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert _used(tmp_path / KEY)
        process.kill()
    marks = tmp_path / LOCKS / f"{KEY}.used"
    assert len(list(marks.iterdir())) == 1
    entry = open_stored(tmp_path / KEY, never)  # takes the mark away
    assert len(list(marks.iterdir())) == 1
    del entry
    assert not _used(tmp_path / KEY)


def test_the_lock_is_beside_the_entry(tmp_path: Path) -> None:
    open_stored(tmp_path / KEY, build)
    assert lock_file(tmp_path / KEY).exists()
    assert entries.part_of(tmp_path / KEY).parent == tmp_path


def _open_as_another_user(folder: Path) -> None:
    os.setgid(65534)
    os.setuid(65534)
    open_stored(folder / "open" / KEY, never)
    find_entry(folder / "open" / KEY)
    assert find_entry(folder / "closed" / KEY) is None
    for action, said in (
        (lambda: open_stored(folder / "open" / OTHER, build), "Cannot write"),
        (lambda: open_stored(folder / "closed" / KEY, build), "Cannot write"),
        (lambda: find_stored(folder / "closed"), "Cannot read"),
        (lambda: remove_stored(find_stored(folder / "open")), "Cannot write"),
    ):
        with pytest.raises(DataError, match=said):
            action()


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can become another user")
def test_a_folder_of_another_user_is_read_or_said() -> None:
    with tempfile.TemporaryDirectory() as name:  # one whose parents others may enter
        folder = Path(name)
        for place in ("open", "closed"):
            open_stored(folder / place / KEY, build)
        folder.chmod(0o755)
        (folder / "closed").chmod(0o700)
        process = get_context("fork").Process(target=_open_as_another_user, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
