import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from threeages.data.stored import partial
from threeages.data.stored.partial import PROGRESS, Note, Rows, fill_rows, is_resumable
from threeages.errors import DataError
from threeages.files import disk

COUNT, COPIES, CHUNK = 10, 2, 3
ROWS = Rows(COUNT, CHUNK, {"a.npy": (np.uint8, (COPIES * COUNT, 5)), "b.npy": (np.float16, (COUNT, 2))})


class Filler:
    """Fills rows with their number and stops after some chunks; remembers which it was given."""

    def __init__(self, stop_after: int = 99) -> None:
        self.stop_after = stop_after
        self.given: list[int] = []

    def __call__(self, part: Path, starts: Sequence[int]) -> Iterator[tuple[int, Note]]:
        self.given = list(starts)
        a, b = (np.load(part / name, mmap_mode="r+") for name in ROWS.arrays)
        for done, start in enumerate(reversed(starts)):  # in any order
            if done == self.stop_after:
                raise KeyboardInterrupt
            for row in range(start, min(start + CHUNK, COUNT)):
                a.reshape(COPIES, COUNT, 5)[:, row] = [[row + 1], [100 + row]]
                b[row] = row + 1
            yield start, {"row": str(start)}


def fill(part: Path, filler: Filler) -> list[Note]:
    return fill_rows(part, ROWS, filler, "Filling")


def contents(part: Path) -> dict[str, bytes]:
    return {name: (part / name).read_bytes() for name in ROWS.arrays}


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, bytes]:
    (tmp_path / "whole").mkdir()
    notes = fill(tmp_path / "whole", Filler())
    assert notes == [{"row": str(start)} for start in (0, 3, 6, 9)]
    return contents(tmp_path / "whole")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A part in which the chunks from 6 and from 9 on are finished."""
    part = tmp_path / "key.part"
    part.mkdir()
    with pytest.raises(KeyboardInterrupt):
        fill(part, Filler(stop_after=2))
    assert is_resumable(part)
    return part


def test_what_was_finished_is_not_filled_again(
    stopped: Path, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    filler = Filler()
    notes = fill(stopped, filler)
    assert filler.given == [0, 3]
    assert [note["row"] for note in notes] == ["0", "3", "6", "9"]
    assert contents(stopped) == expected
    assert "50% kept" in capsys.readouterr().err


def test_it_may_be_stopped_again_and_again(tmp_path: Path, expected: dict[str, bytes]) -> None:
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path, Filler(stop_after=1))
    filler = Filler()
    fill(tmp_path, filler)
    assert filler.given == [0]
    assert contents(tmp_path) == expected


def test_finished_chunks_that_are_damaged_are_filled_again(stopped: Path, expected: dict[str, bytes]) -> None:
    np.load(stopped / "a.npy", mmap_mode="r+")[COUNT + 7] ^= 1  # the second copy of row 7
    filler = Filler()
    fill(stopped, filler)
    assert filler.given == [0, 3, 6]
    assert contents(stopped) == expected


DAMAGE: dict[str, Callable[[Path], object]] = {
    "halved array": lambda part: os.truncate(part / "a.npy", 150),
    "longer array": lambda part: (part / "a.npy").write_bytes((part / "a.npy").read_bytes() + b"x"),
    "zeroed array": lambda part: (part / "b.npy").write_bytes(bytes((part / "b.npy").stat().st_size)),
    "empty array": lambda part: (part / "b.npy").write_bytes(b""),
    "missing array": lambda part: (part / "b.npy").unlink(),
    "array of another kind": lambda part: np.save(part / "b.npy", np.zeros((COUNT, 2), np.int16)),
    "empty record": lambda part: (part / PROGRESS).write_bytes(b""),
    "zeroed record": lambda part: (part / PROGRESS).write_bytes(bytes(300)),
    "missing record": lambda part: (part / PROGRESS).unlink(),
    "halved record": lambda part: os.truncate(part / PROGRESS, (part / PROGRESS).stat().st_size - 10),
    "flipped record": lambda part: _change(part / PROGRESS, "9", "\udcff"),
    "another row": lambda part: _change(part / PROGRESS, "[9,", "[0,"),
    "another note": lambda part: _change(part / PROGRESS, '"row": "9"', '"row": "8"'),
    "no numbers": lambda part: _change(part / PROGRESS, "[9,", "[[],"),
    "other settings": lambda part: _change(part / PROGRESS, "[10,", "[11,"),
}


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new).encode(errors="surrogateescape"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_part_ends_as_if_nothing_had_been(
    damage: str, stopped: Path, expected: dict[str, bytes]
) -> None:
    DAMAGE[damage](stopped)
    notes = fill(stopped, Filler())
    assert contents(stopped) == expected
    assert [note["row"] for note in notes] == ["0", "3", "6", "9"]


def test_a_line_that_was_cut_spoils_no_other(stopped: Path, expected: dict[str, bytes]) -> None:
    DAMAGE["halved record"](stopped)
    with pytest.raises(KeyboardInterrupt):
        fill(stopped, Filler(stop_after=1))
    filler = Filler()
    fill(stopped, filler)
    assert len(filler.given) == 2  # one of four was cut, and the stop came after one more
    assert contents(stopped) == expected


def test_chunks_are_recorded_in_time_and_after_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[int] = []
    on_disk: list[str] = []
    monkeypatch.setattr(partial, "SAVE_SECONDS", 0.0)
    flush = partial.flush_to_disk
    monkeypatch.setattr(partial, "flush_to_disk", lambda path: (on_disk.append(path.name), flush(path)))

    def watch(part: Path, starts: Sequence[int]) -> Iterator[tuple[int, Note]]:
        for chunk in Filler()(part, starts):
            lines.append(sum(line.startswith(b"[") for line in (part / PROGRESS).read_bytes().splitlines()))
            yield chunk

    fill_rows(tmp_path, ROWS, watch, "Filling")
    assert lines == [1, 2, 3, 4]  # the first describes the part
    assert on_disk == [*ROWS.arrays] * 4


def test_every_byte_has_its_place_before_it_is_filled(tmp_path: Path) -> None:
    rows = Rows(4, 1, {"a.npy": (np.uint8, (4, 1 << 20))})
    blocks: list[int] = []

    def look(part: Path, starts: Sequence[int]) -> Iterator[tuple[int, Note]]:
        blocks.append(getattr((part / "a.npy").stat(), "st_blocks", rows.size) * 512)
        yield from ((start, {}) for start in starts)

    fill_rows(tmp_path, rows, look, "Filling")
    assert blocks[0] >= rows.size


@pytest.mark.parametrize("allocates", [True, False])
def test_a_disk_that_fills_meanwhile_is_said_with_what_is_needed(
    allocates: bool, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room is there when it is looked at, and then taken by another program."""
    monkeypatch.setattr(partial, "check_room", lambda *_: None)
    if not allocates:
        monkeypatch.delattr(disk.os, "posix_fallocate", raising=False)
    folder = small_disk(2)
    (folder / "key.part").mkdir()
    rows = Rows(4, 1, {"a.npy": (np.uint8, (4, 1 << 20))})
    with pytest.raises(DataError, match=rf"Cannot write {folder}/key: the disk is full; it needs 4\.19 MB"):
        fill_rows(folder / "key.part", rows, lambda *_: pytest.fail("was filled"), "Filling")


def test_nothing_to_fill_is_nothing_wrong(tmp_path: Path) -> None:
    none = Rows(0, 3, {"a.npy": (np.uint8, (0, 4))})
    assert fill_rows(tmp_path, none, lambda *_: (_ for _ in ()), "Filling") == []


def test_notes_are_json(tmp_path: Path) -> None:
    fill(tmp_path, Filler())
    assert [json.loads(line)[0] for line in (tmp_path / PROGRESS).read_text().splitlines() if line] == [
        COUNT, 9, 6, 3, 0,
    ]  # fmt: skip
