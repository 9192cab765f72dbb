"""Records in a folder of parquet files, each written whole, that is resumed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from threeages.errors import DataError, describe_cause
from threeages.files.arrow import import_arrow
from threeages.files.atomic import atomic_path
from threeages.inference.brackets import Brackets
from threeages.inference.bulk.digests import Shard
from threeages.inference.records import Record
from threeages.inference.writers import SET_SEPARATOR, Column, find_value, list_columns

PART_ROWS = 10_000  # of a file: what a kill costs at most


class PartFolder:
    """The records of all images in a folder of parquet files, with the columns of the csv.

    A file takes its name when it is whole, and no image is in two of them. Shards write into one folder: the
    names of their files differ. `rows` counts the records in files. Raises DataError where a file cannot be
    written or is damaged, and MissingDependencyError without pyarrow.
    """

    def __init__(self, folder: Path, shard: Shard, brackets: Brackets | None = None) -> None:
        self._arrow, self._parquet = import_arrow()
        self._folder, self._columns = folder, list_columns(brackets)
        self._prefix = part_prefix(shard)
        self._schema = self._arrow.schema([(c.name, _find_type(self._arrow, c)) for c in self._columns])
        self._waiting: list[dict[str, Any]] = []
        self._next = 0
        self.rows = 0

    def name(self, path: str) -> str:
        """The name of an image as the files give it."""
        return path.encode(errors="backslashreplace").decode()

    def open(self, add: Callable[[str], object]) -> None:
        """Call `add` with the name of each image in the files that are there."""
        for path in sorted(self._folder.glob(f"{self._prefix}*.parquet")):
            names = self._read_names(path)
            for name in dict.fromkeys(names):
                add(name)
            self.rows += len(names)
            self._next = int(path.stem.removeprefix(self._prefix)) + 1

    def add(self, records: Sequence[Record]) -> None:
        """Take the records of one image; a file is written once there are enough of them."""
        for record in records:
            raw = record.to_dict()
            self._waiting.append({column.name: self._value(raw, column) for column in self._columns})
        if len(self._waiting) >= PART_ROWS:
            self._write()

    def close(self) -> None:
        """Write the last file."""
        if self._waiting:
            self._write()

    def _write(self) -> None:
        table = self._arrow.Table.from_pylist(self._waiting, self._schema)
        with atomic_path(self._folder / f"{self._prefix}{self._next:06}.parquet", durable=True) as part:
            self._parquet.write_table(table, part, write_page_checksum=True)
        self.rows += len(self._waiting)
        self._next += 1
        self._waiting = []

    def _value(self, raw: dict[str, Any], column: Column) -> Any:
        value = find_value(raw, column)
        if isinstance(value, list):
            return SET_SEPARATOR.join(value)
        return self.name(value) if isinstance(value, str) else value

    def _read_names(self, path: Path) -> list[str]:
        try:
            table = self._parquet.read_table(path, columns=["path"], page_checksum_verification=True)
        except (self._arrow.ArrowException, OSError, KeyError) as error:
            raise DataError(
                f"{path} is damaged: {describe_cause(error)}.",
                hint="Remove it and resume: its images are then answered again.",
            ) from error
        names: list[str] = table.column("path").to_pylist()
        return names


def part_prefix(shard: Shard) -> str:
    """How the names of a shard's files begin."""
    return f"part-{shard.number:05}-of-{shard.count:05}-"


def _find_type(arrow: Any, column: Column) -> Any:
    if column.digits is not None:
        return arrow.float64()
    return arrow.int32() if column.keys[0] == "box" else arrow.string()
