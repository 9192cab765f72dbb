"""The known layouts of a data set on disk, each read to rows of image paths with labels or ages."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from threeages.data.manifest import read_manifest
from threeages.errors import DataError
from threeages.faces.images import SUFFIXES
from threeages.files import CsvTable, Row, read_csv
from threeages.labels import AGE_GROUPS

ALLOWED = (
    "Allowed: kaggle:owner/name; a zip; a folder with train.csv (ID,Class) and Train/; a folder with the "
    "subfolders young, middle, old; a folder of UTKFace files; a csv with a path and a label or age column."
)
PATH_NAMES = ("path", "id", "image", "file", "filename")
LABEL_NAMES = ("label", "class", "age_group")
AGE = "age"
MAX_DEPTH = 3  # folders inside folders that a download may add around the set

_UTKFACE = re.compile(r"(?P<fields>\d*(_\d*){0,2})_(?P<date>\d{14,20})\.?(jpg\.chip\.)?jpg", re.IGNORECASE)
_GENDERS = {"0": "MALE", "1": "FEMALE"}


@dataclass
class SourceRows:
    """Rows of a source with `path` (below `root`), other columns, and a `label` or an `age` in years.

    `excluded` counts the files of a folder that are no rows, by reason.
    """

    kind: str
    root: Path
    rows: list[Row]
    excluded: Counter[str] = field(default_factory=Counter)


def read_folder(folder: Path, age_column: str | None) -> SourceRows:
    """Rows of a folder in one of the layouts of `ALLOWED`; raises DataError where it has none of them."""
    tables = [path for path in _walk(folder, MAX_DEPTH) if path.suffix.lower() == ".csv"]
    for table in tables:
        if _is_kaggle(table):
            return _read_kaggle(table, folder)
    images = [path for path in _walk(folder) if path.suffix.lower() in SUFFIXES]
    if any(_class_of(path, folder) for path in images):
        return _read_class_folders(images, folder)
    if any(_UTKFACE.fullmatch(path.name) for path in images):
        return _read_utkface(images, folder)
    if len(tables) == 1:
        return read_faces_csv(tables[0], age_column)
    raise DataError(
        f"{folder} has no known layout; it holds {len(images)} images and {len(tables)} csv files.",
        hint=ALLOWED,
    )


def _walk(folder: Path, depth: int | None = None) -> Iterator[Path]:
    """Files in a fixed order, nearest first; hidden ones and those that macOS adds to a zip are skipped."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX")
    yield from (path for path in entries if path.is_file())
    if depth is None or depth > 0:
        for path in entries:
            if path.is_dir():
                yield from _walk(path, None if depth is None else depth - 1)


def _is_kaggle(table: Path) -> bool:
    if table.name.lower() != "train.csv":
        return False
    return {"ID", "Class"} <= set(read_csv(table).columns)


def _read_kaggle(table: Path, folder: Path) -> SourceRows:
    """Rows in the published order; every listed image must be there."""
    raw = read_csv(table).rows
    images = _train_folder(table, folder, raw)
    there = {path.name for path in images.iterdir()} if images.is_dir() else set()
    missing = [row["ID"] for row in raw if row["ID"] not in there]
    if missing:
        raise DataError(
            f"{folder} is half-downloaded: {len(missing)} of {len(raw)} images that {table.name} lists are "
            f"missing, such as {', '.join(missing[:3])}.",
            hint="Download or extract the set again.",
        )
    rows = [
        {"path": f"{images.name}/{row['ID']}", "label": row["Class"]} | rename_reserved(row, "ID", "Class")
        for row in raw
    ]
    return SourceRows("kaggle_folder", images.parent, rows)


def _train_folder(table: Path, folder: Path, rows: Sequence[Row]) -> Path:
    """The folder `Train` that holds most of the first listed images (a second one may be empty)."""
    found = [path for path in _folders(folder, MAX_DEPTH) if path.name.lower() == "train"]
    first = [row["ID"] for row in rows[:100]]
    best = max(found, key=lambda path: sum((path / name).is_file() for name in first), default=None)
    return (best or table.parent / "Train").resolve()


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    yield folder
    if depth > 0:
        for path in sorted(p for p in folder.iterdir() if p.is_dir() and p.name != "__MACOSX"):
            yield from _folders(path, depth - 1)


def _class_of(path: Path, folder: Path) -> str:
    parts = (part.upper() for part in path.relative_to(folder).parts[:-1])
    return next((part for part in parts if part in AGE_GROUPS), "")


def _read_class_folders(images: list[Path], folder: Path) -> SourceRows:
    found = SourceRows("class_folders", folder, [])
    for path in images:
        if label := _class_of(path, folder):
            found.rows.append({"path": _relative(path, folder), "label": label})
        else:
            found.excluded["no_class_folder"] += 1
    return found


def _read_utkface(images: list[Path], folder: Path) -> SourceRows:
    found = SourceRows("utkface", folder, [])
    for path in images:
        match = _UTKFACE.fullmatch(path.name)
        if not match:
            found.excluded["no_age"] += 1
            continue
        age, gender, race = [*match["fields"].split("_"), "", ""][:3]
        others = {"gender": _GENDERS.get(gender, ""), "race": race}
        found.rows.append({"path": _relative(path, folder), AGE: age} | others)
    return found


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def read_faces_csv(table: Path, age_column: str | None) -> SourceRows:
    """Rows of any csv with a path and a label or age column; labels win unless `age_column` is given."""
    content = read_csv(table)
    path_name, label_name, age_name = _find_columns(content, table, age_column)
    if _is_kaggle(table) and (table.parent / "Train").is_dir():
        return _read_kaggle(table, table.parent)
    root = read_manifest(table, need_label=False)[0].root if path_name == "path" else table.parent
    rows = []
    for row in content.rows:
        known = {"path": row[path_name]} | ({"label": row[label_name]} if label_name else {})
        known |= {AGE: row[age_name]} if age_name else {}
        rows.append(known | rename_reserved(row, path_name, label_name, age_name))
    return SourceRows("csv", root, rows)


def _find_columns(
    content: CsvTable, table: Path, age_column: str | None
) -> tuple[str, str | None, str | None]:
    """Names of the path, label and age columns; raises DataError where a path or both others lack."""
    names = content.columns
    if age_column is not None and age_column not in names:
        raise DataError(f"{table} has no column '{age_column}'.", hint=f"Its columns: {', '.join(names)}.")
    path_name = pick_column(names, PATH_NAMES)
    label_name = None if age_column else pick_column(names, LABEL_NAMES)
    age_name = age_column or pick_column(names, (AGE,))
    if path_name is None or (label_name is None and age_name is None):
        raise DataError(
            f"{table} has the columns {', '.join(names) or 'none'}.",
            hint=f"It needs one of {', '.join(PATH_NAMES)} and one of {', '.join(LABEL_NAMES)}, {AGE}.",
        )
    return path_name, label_name, age_name


def pick_column(names: Sequence[str], allowed: tuple[str, ...]) -> str | None:
    """The column whose name, in lower case, comes first in `allowed`."""
    by_key = {name.lower(): name for name in reversed(names)}
    return next((by_key[key] for key in allowed if key in by_key), None)


def rename_reserved(row: Row, *used: str | None) -> Row:
    """The columns not used; one with the name of a path, label or age becomes `source_...`."""
    rest = {name: value for name, value in row.items() if name not in used}
    return {f"source_{k}" if k in {"path", "label", AGE} else k: v for k, v in rest.items()}
