from collections.abc import Callable
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files.disk import is_full
from threeages.files.writing import (
    append_line,
    read_checked_json,
    write_checked_json,
    write_json,
    write_together,
)


def test_json_is_written_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"b": [1]})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n  "b": [\n    1\n  ]\n}\n'
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]


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
