import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files import (
    BLOCK,
    append_line,
    atomic_path,
    check_room,
    checksum,
    checksum_bytes,
    format_bytes,
    full_disk_error,
    is_full,
    new_path,
    read_checked_json,
    remove_leftovers,
    write_bytes,
    write_checked_json,
    write_error,
    write_json,
    write_together,
)


def test_nothing_is_written_half(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail_half_way() -> None:
        with atomic_path(tmp_path / "a.txt") as part:
            part.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"), atomic_path(tmp_path / "file" / "a.csv"):
        pass


def test_write_faults_leave_no_part_file(tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(DataError, match="Cannot write"), atomic_path(tmp_path / "folder") as part:
        part.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_parts_of_killed_writers_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".a.csv.{dead.pid}.part"
    other = tmp_path / f".a.csv.{os.getppid()}.part"
    of_another = tmp_path / f".b.csv.{dead.pid}.part"
    for part in (left, other, of_another):
        part.write_text("half")
    with atomic_path(tmp_path / "a.csv") as part:
        part.write_text("whole")
    assert not left.exists()
    assert other.exists()
    assert of_another.exists()


def test_a_full_disk_is_one_sentence_with_folder_and_need(tmp_path: Path) -> None:
    message = full_disk_error(tmp_path / "not" / "there" / "a.bin", 2_500_000).message
    assert "2.5 MB" in message
    assert str(tmp_path) in message
    with pytest.raises(DataError, match="the disk is full"):
        check_room(tmp_path / "cache", 10**18)
    check_room(tmp_path / "cache", 1)


def test_a_checksum_sees_every_damage(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    content = bytearray(os.urandom(2 * BLOCK + 100))
    write_bytes(file, content)
    before = checksum(file)
    assert before == checksum(file)
    file.write_bytes(content[: BLOCK + 50])
    assert checksum(file) != before
    for place in (0, BLOCK, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        assert checksum(file) != before
    file.write_bytes(b"")
    assert checksum(file).endswith("-0")


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"b": [1]})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n  "b": [\n    1\n  ]\n}\n'
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]


def test_sizes_are_for_people() -> None:
    sizes = {5: "5 bytes", 7_800: "7.8 kB", 45_600_000: "45.6 MB", 1_230_000_000: "1.23 GB"}
    assert {number: format_bytes(number) for number in sizes} == sizes
    assert format_bytes(2_500 * 10**9) == "2,500 GB"


def test_json_with_a_checksum_is_read_as_written_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_checked_json(path) is None
    content = {"b": [1, 0.1, None, "ü"], "a": {}}
    write_checked_json(path, content)
    assert read_checked_json(path) == content
    whole = path.read_bytes()
    flipped = whole.replace(b"0.1", b"0.3")
    for damaged in (b"", whole[: len(whole) // 2], bytes(len(whole)), flipped, b"[1]", b"{}"):
        path.write_bytes(damaged)
        assert read_checked_json(path) is None


def test_what_has_the_name_is_kept_and_new_files_are_numbered(tmp_path: Path) -> None:
    for content in ("a", "b", "c"):
        with (new := new_path(tmp_path / "a.b.jpg")) as part:
            part.write_text(content)
        assert new.path.read_text() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b-2.jpg", "a.b-3.jpg", "a.b.jpg"]


def test_a_disk_without_hard_links_keeps_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    test_what_has_the_name_is_kept_and_new_files_are_numbered(tmp_path)


def test_leftovers_of_a_folder_are_removed_with_any_suffix(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [
        tmp_path / f".{name}.{dead.pid}.part{suffix}" for name in ("a.jpg", "b") for suffix in ("", ".mp4")
    ]
    kept = [tmp_path / name for name in ("a.jpg", ".b.part", f".a.jpg.{os.getppid()}.part", "a.1.part")]
    for file in (*left, *kept):
        file.write_text("x")
    with atomic_path(tmp_path / "b", suffix=".mp4") as part:
        assert part.suffix == ".mp4"
    assert not any(file.exists() for file in left[2:])
    remove_leftovers(tmp_path)
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in kept)
    remove_leftovers(tmp_path / "none")


def test_files_that_belong_together_are_written_together(tmp_path: Path) -> None:
    write_together({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="Cannot write"):
        write_together({tmp_path / "a": b"new", tmp_path / "c": b"new"})
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"1", b"2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_line_is_added_whole_or_not_at_all(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1)
    append_line(disk / "a", "first\n")
    assert not is_full(disk / "a")
    with pytest.raises(DataError, match="the disk is full"):
        append_line(disk / "a", 2_000_000 * "x" + "\n")
    append_line(disk / "a", "second\n")
    assert (disk / "a").read_text() == "first\nsecond\n"


def test_a_folder_that_vanishes_is_one_sentence(tmp_path: Path) -> None:
    def write_into_nothing() -> None:
        with atomic_path(tmp_path / "gone" / "a") as part:
            part.write_text("x")
            shutil.rmtree(part.parent)

    with pytest.raises(DataError, match="Cannot write") as raised:
        write_into_nothing()
    assert "removed meanwhile" in raised.value.hint


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "your quota of the disk is used up; it needs 2.5 MB"),
        (errno.ENOSPC, "the disk is full; it needs 2.5 MB"),
        (errno.EROFS, "can only be read"),
        (errno.EIO, "The disk fails"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EACCES, "a folder you may write to"),
    ],
)
def test_every_refusal_of_the_system_says_what_to_do(number: int, words: str, tmp_path: Path) -> None:
    error = write_error(tmp_path / "a.bin", OSError(number, os.strerror(number)), need=2_500_000)
    assert words in str(error)
    assert str(tmp_path) in error.message
    assert error.hint


def test_bytes_have_the_checksum_of_their_file(tmp_path: Path) -> None:
    content = os.urandom(BLOCK + 100)
    (tmp_path / "a").write_bytes(content)
    assert checksum(tmp_path / "a") == checksum_bytes(content)
    assert checksum(tmp_path / "a", BLOCK + 5) == checksum_bytes(content[: BLOCK + 5])
    assert checksum(tmp_path / "a", 0) == checksum_bytes(b"")
