"""What a published layout is, and the parts that several of them share: csv files and image names."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from threeages.data.importing.rows import BOX, SourceRows
from threeages.errors import DataError
from threeages.files.csvfiles import Row, read_csv

GENDERS = {"m": "MALE", "male": "MALE", "f": "FEMALE", "female": "FEMALE"}


@dataclass(frozen=True)
class Files:
    """The images and the near csv files of a folder; a csv given alone has the images of its own folder."""

    folder: Path
    images: Sequence[Path]
    tables: Sequence[Path]

    @cached_property
    def columns(self) -> dict[Path, frozenset[str]]:
        """The columns of every csv file; none where it cannot be read."""
        return {table: _read_columns(table) for table in self.tables}

    def relative(self, image: Path) -> str:
        """The path of an image below the folder, with '/'."""
        return image.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class Layout:
    """A published layout: whether files have it, and their rows.

    `finds` is strict enough to choose the layout without being told; `read` raises DataError where the files
    lack what the layout needs.
    """

    finds: Callable[[Files], bool]
    read: Callable[[Files], SourceRows]


class ImageIndex:
    """The images below a folder by the names that a set's csv files give them."""

    def __init__(self, files: Files) -> None:
        self.folder = files.folder
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for image in files.images:
            self._by_name[image.name].append(files.relative(image))

    def find(self, name: str, *, prefer: str = "", anywhere: bool = False) -> str | None:
        """The path below the folder that ends with `name`, the shortest, one with `prefer` in it first.

        With `anywhere` the folders in `name` need not match, if one image alone has its file name.
        """
        name = name.replace("\\", "/").lstrip("./")
        known = self._by_name.get(name.rpartition("/")[2], [])
        ending = [path for path in known if f"/{path}".endswith(f"/{name}")]
        if ending:
            return min(ending, key=lambda path: (prefer not in path, path.count("/"), path))
        return known[0] if anywhere and len(known) == 1 else None


def find_tables(files: Files, columns: Iterable[str]) -> list[Path]:
    """The csv files that have all these columns, by name."""
    wanted = set(columns)
    return sorted(path for path, columns in files.columns.items() if wanted <= columns)


def need_tables(files: Files, columns: Sequence[str], what: str) -> list[Path]:
    """As `find_tables`; raises DataError, which names the columns, where there is none."""
    tables = find_tables(files, columns)
    if not tables:
        raise DataError(
            f"{files.folder} has no csv of {what}; it needs the columns {', '.join(columns)}.",
            hint="Give the folder that holds the csv files and the images of the set.",
        )
    return tables


def match_most(pattern: re.Pattern[str], names: Sequence[str]) -> bool:
    """Whether more than half of the names match as a whole."""
    return 2 * sum(1 for name in names if pattern.fullmatch(name)) > len(names)


def name_gender(text: str) -> str:
    """MALE, FEMALE or '' of the spellings of the sets."""
    return GENDERS.get(text.strip().casefold(), "")


def read_box(row: Row, names: Sequence[str]) -> dict[str, str] | None:
    """The cell of BOX of four columns x1, y1, x2, y2; None where they are no box, such as -1 for no face."""
    try:
        x1, y1, x2, y2 = (float(row.get(name, "")) for name in names)
    except ValueError:
        return None
    return {BOX: f"{x1:g} {y1:g} {x2:g} {y2:g}"} if x1 < x2 and y1 < y2 else None


def _read_columns(table: Path) -> frozenset[str]:
    try:
        return frozenset(read_csv(table).columns)
    except DataError:
        return frozenset()
