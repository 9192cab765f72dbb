"""Files written whole or not at all, and csv files of results."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from threeages.errors import DataError


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
            raise self._fault(error) from error
        return self.part

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self.part.replace(self.path)
            except OSError as fault:  # a folder of that name, a file held open on Windows
                self.part.unlink(missing_ok=True)
                raise self._fault(fault) from fault
            return
        self.part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> DataError:
        return DataError(
            f"Cannot write {self.path}: {error.strerror or error}.",
            hint="Give a folder you may write to, on a disk with room.",
        )


def replace_rows(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    key: Sequence[str],
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> list[Mapping[str, str]]:
    """Write rows into a csv of results behind those that differ in the columns `key`; all of them.

    Older rows alike in `key` go. Their columns are those of the rows given; `extras` says of an older row
    that has more whether it is a ValueError, or loses them.
    """
    new = {tuple(row[name] for name in key) for row in rows}
    kept: list[Mapping[str, str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if tuple(row[name] for name in key) not in new]
    write_rows(path, [*kept, *rows], list(rows[0]), extras=extras)
    return [*kept, *rows]


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str] | None = None,
    *,
    extras: Literal["raise", "ignore"] = "raise",
) -> None:
    """A csv of results; a cell that a row lacks stays empty, `extras` is as in `replace_rows`.

    The columns are all that any row has, in the order they come in, where none are given.
    """
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction=extras)
        writer.writeheader()
        writer.writerows(rows)
