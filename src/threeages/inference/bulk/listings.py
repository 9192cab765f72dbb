"""Files that list or hold images: csv, JSON lines, tar and parquet; one source an image, as it is needed."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threeages.errors import ConfigError, DataError, ImageError, describe_cause
from threeages.files.csvfiles import iterate_csv
from threeages.files.remote import is_remote
from threeages.inference.sources import Source

CSV, JSONL, PARQUET = (".csv", ".tsv"), (".jsonl", ".ndjson"), (".parquet",)
TAR = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
COLUMNS = ("path", "file_name", "filename", "file", "image_path", "image")


@dataclass
class ListingReader:
    """Reads listings, and keeps what is to be said of them.

    Attributes:
        column: Column or key of the paths or of the images' bytes; None takes the first of COLUMNS.
        id_column: Column of a parquet that names its images; None takes the number of the row, from 0.
        root: Folder, or address of one in a store, that the paths of a listing are relative to; None is the
            current one.
        by_part: Images of plain tars are given as parts of the file, which are read where they are needed.
        passed_over: Number of a tar's members that are no images, by kind.
        problems: Errors of damaged listings; what they list before the damage is yielded.
    """

    column: str | None = None
    id_column: str | None = None
    root: Path | str | None = None
    by_part: bool = False
    passed_over: Counter[str] = field(default_factory=Counter)
    problems: list[DataError] = field(default_factory=list)

    def read(self, path: Path) -> Iterator[Source]:
        """Yield a source for every image; an entry that names none has an ImageError for its content.

        Raises ConfigError where a column is missing, MissingDependencyError for a parquet without pyarrow.
        """
        try:
            yield from self._open(path)
        except DataError as error:
            self.problems.append(error)

    def _open(self, path: Path) -> Iterator[Source]:
        name = path.name.lower()
        if name.endswith(TAR):
            from threeages.inference.bulk.tars import read_tar

            return read_tar(path, self.passed_over, by_part=self.by_part)
        if name.endswith(PARQUET):
            from threeages.inference.bulk.parquets import read_parquet

            return read_parquet(path, self)
        return self._read_csv(path) if name.endswith(CSV) else self._read_jsonl(path)

    def locate(self, entry: object, name: str) -> Source:
        """The source of the path in an entry of a listing, which `name` names where it holds none."""
        if not isinstance(entry, str) or not entry.strip():
            return Source(name, ImageError("missing", "The entry names no image.", hint="Give it a path."))
        return self.place(entry.strip())

    def place(self, text: str | Path) -> Source:
        """The source of a path, or of an address in a store; a path is relative to the root."""
        root = "" if self.root is None else str(self.root)
        if is_remote(str(text)) or is_remote(root):
            from threeages.inference.bulk.remotes import locate_remote

            return locate_remote(str(text) if is_remote(str(text)) else f"{root.rstrip('/')}/{text}")
        path = Path(root) / text
        return Source(str(path), path)

    def find_column(self, path: Path, names: Sequence[str]) -> str:
        """The column of the images; raises ConfigError where there is none."""
        wanted = (self.column,) if self.column else COLUMNS
        for name in wanted:
            if name in names:
                return name
        raise ConfigError(
            f"{path} has no column '{wanted[0]}'; it has {', '.join(names) or 'none'}.",
            hint="Name the column of the paths or images: --column NAME.",
        )

    def _read_csv(self, path: Path) -> Iterator[Source]:
        column = None
        for line, row in iterate_csv(path):
            column = column or self.find_column(path, list(row))
            yield self.locate(row[column], f"{path}/{line}")

    def _read_jsonl(self, path: Path) -> Iterator[Source]:
        column = None
        try:
            with path.open("rb") as file:
                for line, text in enumerate(file, 1):
                    entry = _parse(text)
                    if isinstance(entry, dict):
                        column = column or self.find_column(path, list(entry))
                        entry = entry.get(column)
                    if text.strip():
                        yield self.locate(entry, f"{path}/{line}")
        except OSError as error:
            raise damaged(path, error) from error


def is_listing(path: Path) -> bool:
    """Whether a file lists or holds images, by its name."""
    return path.name.lower().endswith((*CSV, *JSONL, *PARQUET, *TAR))


def damaged(path: Path, cause: BaseException | str) -> DataError:
    """The error of a listing that cannot be read to its end."""
    return DataError(
        f"{path} cannot be read to its end: {describe_cause(cause)}. What could be read of it is answered.",
        hint="Make it again, or restore it from a copy; with --out, --resume then answers the rest.",
    )


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # the record of the line says that it names no image
        return None
