import os
import subprocess
import sys
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files import (
    BLOCK,
    atomic_path,
    check_room,
    checksum,
    format_bytes,
    full_disk_error,
    read_checked_json,
    write_bytes,
    write_checked_json,
    write_json,
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
