import errno
import os
import shutil
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files.atomic import atomic_path
from threeages.files.disk import check_room, format_bytes, full_disk_error, write_error


def test_a_full_disk_is_one_sentence_with_folder_and_need(tmp_path: Path) -> None:
    message = full_disk_error(tmp_path / "not" / "there" / "a.bin", 2_500_000).message
    assert "2.5 MB" in message
    assert str(tmp_path) in message
    with pytest.raises(DataError, match="the disk is full"):
        check_room(tmp_path / "cache", 10**18)
    check_room(tmp_path / "cache", 1)


def test_sizes_are_for_people() -> None:
    sizes = {5: "5 bytes", 7_800: "7.8 kB", 45_600_000: "45.6 MB", 1_230_000_000: "1.23 GB"}
    assert {number: format_bytes(number) for number in sizes} == sizes
    assert format_bytes(2_500 * 10**9) == "2,500 GB"


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


def test_a_file_in_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "c"):
        with pytest.raises(DataError, match="Cannot write") as raised, atomic_path(path):
            pass
        assert "A file has the name of a folder" in raised.value.hint
