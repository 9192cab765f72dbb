"""The one reader and the one writer of csv files, as spreadsheets write them."""

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TextIO

from threeages.errors import DataError, describe_cause
from threeages.files.writing import write_text

logger = logging.getLogger(__name__)

Row = dict[str, str]  # cells by column name
SEPARATORS = ("\t", ";", "|", ",")  # the comma is last, as it stands inside names as well
_ZEROS = 8 * "\0"  # fewer are a fault in one cell
_HEADER_LENGTH = 100_000  # characters; a longer first line is no header


@dataclass(frozen=True)
class CsvTable:
    """The content of a csv file: its columns, its rows and the line of the file on which each row ends.

    Every row has all columns. Names and cells carry no white space around them. `short` are the lines of
    rows that lacked cells, as the last one of a file does that was cut off.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    short: tuple[int, ...] = ()


def read_csv(path: Path) -> CsvTable:
    """Read a table as a spreadsheet writes it.

    The encoding is UTF-8 or UTF-16, else Windows-1252 with a warning in the log; cells are separated by
    commas, semicolons, tabs or '|'. A cell that a row lacks is '', cells beyond the last column and columns
    without a name are dropped. Raises DataError where the file cannot be opened or is no text.
    """
    text = read_text(path)
    try:
        skipped, separator = _dialect(text)
        reader = csv.DictReader(io.StringIO(text[skipped:], newline=""), delimiter=separator)
        before = _line_of(text, skipped) - 1
        numbered = [(reader.line_num + before, row) for row in reader]
        names = [name for name in reader.fieldnames or [] if name.strip()]
    except csv.Error as error:
        raise DataError(
            f"{path} is not a csv: {describe_cause(error)}.", hint="Save it as 'CSV UTF-8'."
        ) from error
    table = CsvTable(
        columns=tuple(dict.fromkeys(name.strip() for name in names)),
        rows=tuple({name.strip(): (row[name] or "").strip() for name in names} for _, row in numbered),
        lines=tuple(line for line, _ in numbered),
        short=tuple(line for line, row in numbered if None in row.values()),
    )
    _check_end(path, text, table)
    return table


def iterate_csv(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a large table one by one, as `read_csv` reads them, each with the line it ends on.

    Bytes that are no UTF-8 are kept as surrogates, as names of files hold them. Raises DataError where the
    file cannot be opened or read to its end, after the rows before that.
    """
    try:
        with path.open("rb") as raw:
            head = raw.read(_HEADER_LENGTH)
        encoding = utf16_name(head) or "utf-8"
        text = head.decode(encoding, "replace").removeprefix("\ufeff")
        skipped, separator = _dialect(text)
        with path.open(encoding=encoding, errors="surrogateescape", newline="") as file:
            before = _skip(file, skipped)
            for number, row in _number_rows(csv.DictReader(file, delimiter=separator)):
                yield before + number, row
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"Cannot read {path} to its end: {describe_cause(error)}. What could be read of it is answered.",
            hint="Save it again as 'CSV UTF-8', and check its permissions.",
        ) from error


def _skip(file: TextIO, length: int) -> int:
    """Pass over a byte order mark and `length` characters; returns the number of their lines."""
    if file.read(1) != "\ufeff":
        file.seek(0)
    return _line_of(file.read(length), length) - 1


def _number_rows(reader: "csv.DictReader[str]") -> Iterator[tuple[int, Row]]:
    names = [name for name in reader.fieldnames or [] if name.strip()]
    for row in reader:
        yield reader.line_num, {name.strip(): (row[name] or "").strip() for name in names}


def _check_end(path: Path, text: str, table: CsvTable) -> None:
    """Raises DataError where a file ends within a row: only the last is short, and its line has no end."""
    if len(table.lines) > 1 and table.short == table.lines[-1:] and text[-1] not in "\r\n":
        raise DataError(
            f"{path} is cut off: line {table.lines[-1]}, its last, ends before its last column.",
            hint="Make the file again, or complete that line.",
        )


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, or in Windows-1252 with a warning in the log.

    Raises DataError where the file cannot be opened, is no text, or holds zeros in place of text, as a file
    does that was being written when the power failed.
    """
    text = _decode(path, _read_bytes(path))
    if _ZEROS in text:
        line = _line_of(text, text.index(_ZEROS))
        raise DataError(
            f"{path} is damaged: it holds zeros in place of text from line {line} on.",
            hint="Make it again, or restore it from a copy.",
        )
    return text


def _line_of(text: str, place: int) -> int:
    return len(re.findall(r"\r\n|\r|\n", text[:place])) + 1


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "Name a file in that folder." if path.is_dir() else "Check the path and its permissions."
        raise DataError(f"Cannot read {path}: {describe_cause(error)}.", hint=hint) from error


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode(utf16_name(data) or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise DataError(
                f"{path} is no text: neither UTF-8 nor UTF-16 nor Windows-1252.",
                hint="Save it as 'CSV UTF-8'.",
            ) from error
    _warn_encoding(path)
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:  # five bytes mean nothing in Windows-1252
        return data.decode("latin-1")


def utf16_name(head: bytes) -> str:
    """The encoding of a text in UTF-16 by its first two bytes or more, '' where it is another."""
    if head[:2] == codecs.BOM_UTF16_LE or (head[1:2] == b"\0" != head[:1] and head[3:4] in {b"", b"\0"}):
        return "utf-16-le"
    if head[:2] == codecs.BOM_UTF16_BE or (head[:1] == b"\0" != head[1:2] and head[2:3] in {b"", b"\0"}):
        return "utf-16-be"
    return ""


def _dialect(text: str) -> tuple[int, str]:
    """The length of what stands before the header, and the separator.

    Before the header may stand empty lines and a line `sep=;`, which Excel reads and writes. The separator is
    the one that stands most often in the header, outside quotes.
    """
    before = re.match(r'([ \t]*[\r\n])*("?sep=(?P<sep>[^\r\n])"?[ \t]*(\r\n|\r|\n))?', text, re.IGNORECASE)
    skipped, declared = (before.end(), before["sep"]) if before else (0, None)
    header = re.sub(r'"(?:[^"]|"")*"', "", text[skipped : skipped + _HEADER_LENGTH])
    header = re.split(r"[\r\n]", header, maxsplit=1)[0]
    common = max(SEPARATORS, key=header.count)
    return skipped, declared or (common if common in header else ",")


@cache
def _warn_encoding(path: Path) -> None:
    logger.warning("%s is not in UTF-8; it was read as Windows-1252 (Latin-1). Save it as 'CSV UTF-8'.", path)


def write_rows(
    path: Path,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] | None = None,
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> None:
    """Write a csv file whole: a header, then one line a row.

    `columns` defaults to all columns of the rows, in order of first appearance. A cell that a row lacks, or
    that is None, is empty. A row with a column that is not among `columns` is a ValueError, or loses it with
    `extras="ignore"`. Raises DataError where the file cannot be written.
    """
    write_text(path, format_rows(rows, columns, extras=extras))


def format_rows(
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] | None = None,
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> str:
    """The text of the csv file that `write_rows` writes."""
    rows = list(rows)
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction=extras)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def replace_rows(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    key: Sequence[str],
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> list[Mapping[str, str]]:
    """Write rows into a csv of results in place of those with the same cells in the columns `key`.

    Returns all rows of the file: older ones first, then those given. The columns are those of the rows given;
    an older row loses one beyond them with `extras="ignore"`. Raises DataError, and leaves the file as it is,
    where it is no such table: without the columns `key`, cut off within a row, or with further columns.
    """
    new = {tuple(row[name] for name in key) for row in rows}
    older = _read_results(path, key, None if extras == "ignore" else set(rows[0])) if path.exists() else ()
    kept: list[Mapping[str, str]] = [row for row in older if tuple(row[name] for name in key) not in new]
    write_rows(path, [*kept, *rows], list(rows[0]), extras=extras)
    return [*kept, *rows]


def _read_results(path: Path, key: Sequence[str], allowed: set[str] | None) -> tuple[Row, ...]:
    """The rows of a csv of results; DataError where it is damaged, or has columns beyond those allowed."""
    table = read_csv(path)
    hint = "Restore it from a copy, or move it away and start the same command again."
    if missing := [name for name in key if name not in table.columns]:
        raise DataError(
            f"{path} is no table of results, or is damaged: it has no column {', '.join(missing)}.", hint=hint
        )
    if table.short:
        raise DataError(f"{path} is damaged: line {table.short[0]} ends before its last column.", hint=hint)
    if further := [name for name in table.columns if allowed is not None and name not in allowed]:
        raise DataError(
            f"{path} has columns that the new rows lack: {', '.join(further)}.", hint="Name another file."
        )
    return table.rows
