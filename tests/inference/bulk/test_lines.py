import csv
import io
import json
import os
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.inference.bulk.lines import LineFile
from threeages.inference.records import Record

ODD = ["=1+1.jpg", 'say "x", y.jpg', "two\nlines.jpg", "a\udcff.jpg", "\u00e9.jpg", "plain.jpg"]
IMAGES = [
    [Record(name, "ok", (0, 0, i, 1)) for i in range(faces)]
    for name, faces in zip(ODD, (1, 3, 2, 1, 2, 1), strict=True)
]


def _answer(path: Path, whole: int | None = None) -> list[str]:
    """Add the images that are not there yet, as a run does; the names of those."""
    file, there, added = LineFile(path, path.suffix[1:], whole=whole), set(), []
    file.open(there.add)
    for records in IMAGES:
        if file.name(records[0].path) not in there:
            file.add(records)
            added.append(records[0].path)
    file.close()
    return added


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_file_cut_anywhere_is_completed_to_the_same_bytes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # thousands of them take a minute
    path = tmp_path / f"a.{kind}"
    assert _answer(path) == ODD
    whole = path.read_bytes()
    for end in range(0, len(whole) + 1, 5):
        path.write_bytes(whole[:end])
        assert _answer(path)
        assert path.read_bytes() == whole, end


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_of_a_file_that_was_closed_nothing_is_answered_again(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    _answer(path)
    before = path.read_bytes()
    assert _answer(path, len(before)) == []
    assert path.read_bytes() == before
    assert _answer(path, len(before) - 1) == ODD[-1:]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_zeros_at_the_end_are_cut_off(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    _answer(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30] + bytes(500))
    _answer(path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("kind", "line"), [("jsonl", "{}\n"), ("jsonl", "x\n"), ("csv", "a,b\n")])
def test_a_damaged_line_before_the_last_is_refused(tmp_path: Path, kind: str, line: str) -> None:
    path = tmp_path / f"a.{kind}"
    _answer(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], line, *lines[2:]]))
    before = path.read_bytes()
    with pytest.raises(DataError, match="is damaged"):
        _answer(path)
    assert path.read_bytes() == before


def test_the_file_can_be_read_by_others(tmp_path: Path) -> None:
    _answer(tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [r.path for records in IMAGES for r in records]
    _answer(tmp_path / "a.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_bytes().decode(), newline="")))
    assert [row[0] for row in rows[1:3]] == ["'=1+1.jpg", 'say "x", y.jpg']
    assert len(rows) == 11
