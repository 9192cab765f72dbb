"""Arrays that are filled some rows at a time: a build that was killed resumes with the rows it lacks."""

import json
import os
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from threeages.data.stored.entries import remove_path
from threeages.files.disk import allocate, check_room, flush_to_disk, write_error
from threeages.files.writing import write_bytes
from threeages.progress import track_progress

PROGRESS = ".finished"  # in a part: a line of json for every chunk that is on the disk
SAVE_SECONDS = 5.0  # at most so much work is lost, and the work on one chunk

Note = dict[str, Any]  # what else json is to keep of a chunk
Chunks = Generator[tuple[int, Note], None, None]  # first rows, and notes
Fill = Callable[[Path, Sequence[int]], Chunks]
Arrays = Mapping[str, tuple[DTypeLike, tuple[int, ...]]]


@dataclass(frozen=True)
class Rows:
    """`arrays` by file name, as dtype and shape, filled for `chunk` of the `count` rows at a time.

    The first axis of an array is the rows, or that many several times behind one another.
    """

    count: int
    chunk: int
    arrays: Arrays

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in self.arrays.values())

    @property
    def starts(self) -> range:
        """The first row of every chunk."""
        return range(0, self.count, self.chunk)

    def describe(self) -> str:
        """What a part must have been begun with for it to be resumed."""
        arrays = {name: (np.dtype(dtype).str, list(shape)) for name, (dtype, shape) in self.arrays.items()}
        return json.dumps([self.count, self.chunk, arrays])


def fill_rows(part: Path, rows: Rows, fill: Fill, title: str) -> list[Note]:
    """Fill the arrays in the folder `part`, whose lock is held; the notes of the chunks, in order.

    `fill` is given the folder and the first rows of the chunks to fill. It yields the first row and a note of
    each, in any order, once it is filled. Chunks that a killed process finished are checked and kept. Raises
    DataError where the disk is full.
    """
    place = part.with_suffix("")
    try:
        finished = _read_finished(part, rows)
        if finished is None:
            check_room(place, rows.size)
            _allocate(part, rows)
            finished = {}
        record = _Record(part, rows)
        todo = [start for start in rows.starts if start not in finished]
        title += f", {len(finished) / len(rows.starts):.0%} kept" if finished else ""
        try:
            with closing(fill(part, todo)) as chunks:  # an exception in the loop ends the processes at once
                for start, note in track_progress(chunks, title, len(todo)):
                    record.add(start, note)
                    finished[start] = note
        finally:
            record.save()
    except OSError as error:
        raise write_error(place, error, need=rows.size) from error
    return [finished[start] for start in rows.starts]


def is_resumable(part: Path) -> bool:
    """Whether a part holds finished chunks."""
    try:
        return (part / PROGRESS).read_bytes().count(b"\n") > 1
    except OSError:
        return False


class _Record:
    """Notes which chunks are finished, every few seconds and only after their bytes are on the disk."""

    def __init__(self, part: Path, rows: Rows) -> None:
        self.part, self.rows = part, rows
        self.arrays = _open_arrays(part, rows)
        self.lines: list[str] = []
        self.saved = time.monotonic()

    def add(self, start: int, note: Note) -> None:
        self.lines.append(json.dumps([start, note, _checksum_chunk(self.arrays, self.rows, start, note)]))
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        if not self.lines:
            return
        for name in self.rows.arrays:
            flush_to_disk(self.part / name)
        with (self.part / PROGRESS).open("ab") as file:
            file.write("\n".join(["", *self.lines, ""]).encode())  # the line before may have been cut
            file.flush()
            os.fsync(file.fileno())
        self.lines, self.saved = [], time.monotonic()


def _allocate(part: Path, rows: Rows) -> None:
    """Begin: arrays of zeros that have their place on the disk, and the first line of the record."""
    for path in part.iterdir():
        remove_path(path)
    for name, (dtype, shape) in rows.arrays.items():
        np.lib.format.open_memmap(part / name, mode="w+", dtype=np.dtype(dtype), shape=shape)
        allocate(part / name)
    write_bytes(part / PROGRESS, (rows.describe() + "\n").encode())


def _open_arrays(part: Path, rows: Rows) -> dict[str, NDArray[Any]]:
    """Raises ValueError or OSError where a file is not of the size and kind that it was begun with."""
    arrays = {name: np.load(part / name, mmap_mode="r") for name in rows.arrays}
    for name, (dtype, shape) in rows.arrays.items():
        found = arrays[name]
        whole = found.offset + found.nbytes == (part / name).stat().st_size
        if found.dtype != np.dtype(dtype) or found.shape != shape or not whole:
            raise ValueError(name)
    return arrays


def _read_finished(part: Path, rows: Rows) -> dict[int, Note] | None:
    """The notes of the chunks whose bytes are as they were recorded; None where nothing can be resumed."""
    try:
        first, *lines = (part / PROGRESS).read_text("utf-8", errors="replace").splitlines()
        if first != rows.describe():
            return None
        arrays = _open_arrays(part, rows)
    except (OSError, ValueError, EOFError, AttributeError):
        return None
    for name in rows.arrays:  # a file that was copied or restored may have holes
        allocate(part / name)
    found = (_read_line(line, arrays, rows) for line in lines)
    finished = dict(chunk for chunk in found if chunk)
    return finished or None


def _read_line(line: str, arrays: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[int, Note] | None:
    try:
        start, note, expected = json.loads(line)
        intact = start in rows.starts and _checksum_chunk(arrays, rows, start, note) == expected
    except (ValueError, TypeError, RecursionError):
        return None
    return (start, note) if intact else None


def _checksum_chunk(arrays: Mapping[str, NDArray[Any]], rows: Rows, start: int, note: Note) -> int:
    found = zlib.crc32(json.dumps(note).encode())
    for array in arrays.values():
        chunk = array.reshape(-1, rows.count, *array.shape[1:])[:, start : start + rows.chunk]
        found = zlib.crc32(np.ascontiguousarray(chunk).data.cast("B"), found)
    return found
