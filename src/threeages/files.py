"""Files that are written whole or not at all, and the one reader and the one writer of csv files."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from threeages.errors import DataError

Row = dict[str, str]  # cells by column name


class atomic_path:  # noqa: N801 - reads as a function at the call
    """Yield a sibling path to write to; it takes the final name only when the block ends well.

    Raises DataError when the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.part.touch()
        except OSError as error:
            raise self._data_error(error) from error
        return self.part

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self.part.replace(self.path)
            except OSError as failure:  # a folder of that name, a file held open on Windows
                self.part.unlink(missing_ok=True)
                raise self._data_error(failure) from failure
            return
        self.part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._data_error(error) from error

    def _data_error(self, error: OSError) -> DataError:
        return DataError(
            f"Cannot write {self.path}: {error.strerror or error}.",
            hint="Give a folder you may write to, on a disk with room.",
        )


@dataclass(frozen=True)
class CsvTable:
    """The content of a csv file: its columns, its rows and the line of the file on which each row ends.

    Every row has all columns. Names and cells carry no white space around them.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[int, ...]


def read_csv(path: Path) -> CsvTable:
    """Read a csv file in UTF-8, with or without a byte order mark.

    A cell that a row lacks is '', cells beyond the last column and columns without a name are dropped.
    Raises DataError where the file cannot be opened or is no csv in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            numbered = [(reader.line_num, row) for row in reader]
            names = [name for name in reader.fieldnames or [] if name.strip()]
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}.", hint="Check the path and its permissions."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a csv in UTF-8: {error}.", hint="Save it as 'CSV UTF-8'.") from error
    return CsvTable(
        columns=tuple(dict.fromkeys(name.strip() for name in names)),
        rows=tuple({name.strip(): row[name].strip() for name in names} for _, row in numbered),
        lines=tuple(line for line, _ in numbered),
    )


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
    rows = list(rows)
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction=extras)
        writer.writeheader()
        writer.writerows(rows)


def replace_rows(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    key: Sequence[str],
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> list[Mapping[str, str]]:
    """Write rows into a csv of results in place of those with the same cells in the columns `key`.

    Returns all rows of the file: older ones first, then those given. The columns are those of the rows given;
    an older row with a column beyond them is a ValueError, or loses it with `extras="ignore"`.
    """
    new = {tuple(row[name] for name in key) for row in rows}
    older = read_csv(path).rows if path.exists() else ()
    kept: list[Mapping[str, str]] = [row for row in older if tuple(row[name] for name in key) not in new]
    write_rows(path, [*kept, *rows], list(rows[0]), extras=extras)
    return [*kept, *rows]
