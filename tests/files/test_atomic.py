import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files.atomic import atomic_path, new_path, remove_leftovers


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
