"""Records in one file of JSON lines or csv that grows by an image at a time, and is resumed."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from threeages.errors import DataError
from threeages.files.disk import write_error
from threeages.files.writing import append_whole
from threeages.inference.brackets import Brackets
from threeages.inference.records import Record
from threeages.inference.writers import escape_formula, format_header, format_line, list_columns

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
Entry = tuple[str, int]  # of a record that was written: the name of its image, and where the record begins


class LineFile:
    """The records of all images in one file.

    The records of an image are written in one call. A killed process may leave a part of the last image's:
    they are cut off when the file is opened again, and that image is answered once more; not so where the
    file still has the size `whole` that it was closed with. `rows` counts the records that were kept and
    added. Raises DataError where the file cannot be written, or is damaged before
    its last line.
    """

    def __init__(
        self, path: Path, kind: str, brackets: Brackets | None = None, *, whole: int | None = None
    ) -> None:
        self._whole = whole
        self._path, self._kind, self._columns = path, kind, list_columns(brackets)
        self._file = -1
        self.rows = 0

    def name(self, path: str) -> str:
        """The name of an image as the file gives it."""
        return path if self._kind == "jsonl" else _as_text(escape_formula(path))

    def open(self, add: Callable[[str], object]) -> None:
        """Open the file, create it where there is none, and call `add` with the name of each image in it."""
        end = self._read(add) if self._path.exists() else 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, FLAGS, 0o666)
            os.ftruncate(self._file, end)
        except OSError as error:
            raise write_error(self._path, error) from error
        if not end and self._kind == "csv":
            self._append(format_header(self._columns))

    def add(self, records: Sequence[Record]) -> None:
        """Write the records of one image, all or none."""
        self._append("".join(format_line(record, self._kind, self._columns) for record in records))
        self.rows += len(records)

    def close(self) -> None:
        """Return when everything is on the disk."""
        try:
            os.fsync(self._file)
            os.close(self._file)
        except OSError as error:
            raise write_error(self._path, error) from error

    def _append(self, text: str) -> None:
        try:
            append_whole(self._file, _as_text(text).encode())
        except OSError as error:
            raise write_error(self._path, error, need=len(text)) from error

    def _read(self, add: Callable[[str], object]) -> int:
        """Read the names; the end of what is kept is where the records of the last image begin, or end."""
        last, start, rows = None, 0, 0
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            entries = _read_jsonl(file) if self._kind == "jsonl" else _read_csv(file)
            for name, begin in self._checked(entries):
                if name != last:
                    if last is not None:
                        add(last)
                    self.rows, last, start = rows, name, begin
                rows += 1
        if last is None or size != self._whole:
            return start
        add(last)
        self.rows = rows
        return size

    def _checked(self, entries: Iterator[Entry | None]) -> Iterator[Entry]:
        """The entries up to the last line, which may be damaged; raises DataError where another is."""
        for entry in entries:
            if entry is None:
                if next(entries, None) is not None:
                    raise DataError(
                        f"{self._path} is damaged: a line before its last one is no record.",
                        hint="Give another file, or remove the damaged lines and resume.",
                    )
                return
            yield entry


def _read_jsonl(file: BinaryIO) -> Iterator[Entry | None]:
    begin = 0
    for line in file:
        try:
            yield (str(json.loads(line)["path"]), begin) if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError):
            yield None
        begin += len(line)


def _read_csv(file: BinaryIO) -> Iterator[Entry | None]:
    """The entries of a csv after its header; None for rows that are not as long as it, and a torn one."""
    end = begin = columns = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            end += len(line)
            yield (
                line.decode(errors="replace") if line.endswith(b"\n") else '"'
            )  # torn: a quote that stays open

    reader = csv.reader(lines(), strict=True)
    try:
        for row in reader:
            if not columns:
                columns = len(row)
            else:
                yield (row[0], begin) if len(row) == columns else None
            begin = end
    except csv.Error:
        yield None


def _as_text(text: str) -> str:
    """The text with what no UTF-8 holds, as a name of a file may, written as an escape."""
    return text.encode(errors="backslashreplace").decode()
