"""Columns of a table by their usual names, in any case and spelling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threeages.errors import DataError
from threeages.files.csvfiles import CsvTable, Row

AGE = "age"
# An age of which only a range is known, in years, ends included; an empty cell leaves that end open.
AGE_LOW, AGE_HIGH = "age_low", "age_high"
AGE_HOW = "age_how"  # how the age is known, in the words of the source
WITHHELD = "withheld"  # in AGE_HOW: an age that its source does not trust
SOURCE = "source"  # the set that a row is of
# Names as `_key` writes them, the likeliest first: a table with `id` and `image` has its files in `image`.
PATH_NAMES = (
    *(
        "path",
        "filepath",
        "imagepath",
        "filename",
        "imagename",
        "imagefile",
        "file",
        "image",
        "img",
        "imgpath",
    ),
    *("imgname", "photo", "picture", "imageid", "imgid", "id"),
)
LABEL_NAMES = ("label", "class", "agegroup", "ageclass", "agelabel", "agecategory", "classname", "labels")
AGE_NAMES = ("age", "ageyears", "ageinyears", "years", "ages", "agerange", "agebin", "agebracket")


@dataclass(frozen=True)
class ColumnNames:
    """Names of a table's columns, each given by an option or None."""

    path: str | None = None
    label: str | None = None
    age: str | None = None


def pick_column(names: Sequence[str], allowed: Sequence[str]) -> str | None:
    """The column whose name comes first in `allowed`, without regard to case, spaces and punctuation."""
    by_key = {_key(name): name for name in reversed(names)}
    return next((by_key[_key(name)] for name in allowed if _key(name) in by_key), None)


def find_columns(content: CsvTable, table: Path, given: ColumnNames) -> ColumnNames:
    """The names of the columns of a table: those given, else by their usual names.

    A label column is found by name only where no age column is given. Raises DataError where a given column,
    the path, or both label and age are absent.
    """
    names = content.columns
    path = _given(names, table, "--path-column", given.path) or pick_column(names, PATH_NAMES)
    age = _given(names, table, "--age-column", given.age)
    label = _given(names, table, "--label-column", given.label)
    if label is None and age is None:
        label = pick_column(names, LABEL_NAMES)
    age = age or pick_column(names, AGE_NAMES)
    has_age = age is not None or not {AGE_LOW, AGE_HIGH}.isdisjoint(names)
    if path is None or not (label or has_age):
        raise DataError(
            f"{table} has the columns {', '.join(names) or 'none'}.",
            hint="It needs a column path (or file_name, image, id) and a column label (or class, age_group) "
            "or age (or age_low, age_high), named in the first line. Name others with --path-column, "
            "--label-column, --age-column.",
        )
    return ColumnNames(path, label, age)


def has_columns(content: CsvTable) -> bool:
    """Whether a table has a path and a label or age by their usual names."""
    path, *others = (pick_column(content.columns, names) for names in (PATH_NAMES, LABEL_NAMES, AGE_NAMES))
    return path is not None and any(others)


def rename_reserved(row: Row, *used: str | None) -> Row:
    """The columns not used; one with the name of a path, label or age becomes `source_...`."""
    rest = {name: value for name, value in row.items() if name not in used}
    return {f"source_{k.lower()}" if k.lower() in {"path", "label", AGE} else k: v for k, v in rest.items()}


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _given(names: Sequence[str], table: Path, option: str, name: str | None) -> str | None:
    if name is None:
        return None
    found = name if name in names else pick_column(names, (name,))
    if found is None:
        raise DataError(
            f"{table} has no column '{name}'.", hint=f"{option} takes one of its columns: {', '.join(names)}."
        )
    return found
