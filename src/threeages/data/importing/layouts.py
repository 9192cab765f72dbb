"""The known layouts of a data set on disk, each read to rows of image paths with labels or ages."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from threeages.data.ages import parse_ages
from threeages.data.columns import AGE, SOURCE, ColumnNames, find_columns, has_columns, rename_reserved
from threeages.data.importing.grouping import Grouping
from threeages.data.importing.rows import SourceRows
from threeages.data.importing.sets.layout import Files
from threeages.data.importing.sets.registry import SETS, find_layout
from threeages.data.manifest import manifest_root, read_table
from threeages.errors import DataError, format_count
from threeages.faces.folders import FoundFiles, find_images
from threeages.files.csvfiles import Row, read_csv

ALLOWED = (
    "Allowed: kaggle:owner/name; a zip or tar; a folder with train.csv (ID,Class) and Train/; a folder with "
    "the subfolders young, middle, old, or named by age (25, 20-29, 60+); a folder of UTKFace files; a "
    f"folder as published of {', '.join(SETS)}; a csv with a path and a label or age column."
)
MAX_DEPTH = 3  # folders inside folders that a download may add around the set
MAX_NAMED = 10  # folders or labels that a message names

FILM_FACES, UTKFACE = "faces", "utkface"  # the names of these two sets in the column `source`
_UTKFACE = re.compile(r"(?P<fields>\d*(_\d*){0,2})_(?P<date>\d{14,20})\.?(jpg\.chip\.)?jpg", re.IGNORECASE)
_GENDERS = {"0": "MALE", "1": "FEMALE"}


def read_folder(
    folder: Path, given: ColumnNames, grouping: Grouping, layout: str | None = None
) -> SourceRows:
    """Rows of a folder in one of the layouts of `ALLOWED`; raises DataError where it has none of them.

    `layout` names one of sets.registry.SETS, for a folder that another layout would be found in first.
    """
    walked = find_images(folder)
    tables = [path for path in walked.others if _is_near_table(path, folder)]
    if layout is None:
        return _read_plain(folder, walked, tables, given, grouping)
    found = find_layout(Files(folder, walked.images, tables), layout)
    assert found is not None
    return _with_passed_over(found.read(Files(folder, walked.images, tables)), _without(walked, tables))


def _read_plain(
    folder: Path, walked: FoundFiles, tables: list[Path], given: ColumnNames, grouping: Grouping
) -> SourceRows:
    for table in tables:
        if _is_kaggle(table):
            return _with_passed_over(_read_kaggle(table, walked.images), walked, table)
    if any(_class_of(path, folder, grouping) for path in walked.images):
        return _with_passed_over(_read_class_folders(walked.images, folder, grouping), walked)
    files = Files(folder, walked.images, tables)
    if published := find_layout(files):
        return _with_passed_over(published.read(files), _without(walked, tables))
    if any(_UTKFACE.fullmatch(path.name) for path in walked.images):
        return _with_passed_over(_read_utkface(walked.images, folder), walked)
    numbered = _numbered_folders(walked.images, folder)
    usable = [table for table in tables if not numbered or has_columns(read_csv(table))]
    if len(usable) == 1:
        return _with_passed_over(read_faces_csv(usable[0], given), walked, usable[0])
    if numbered:
        return _with_passed_over(_read_age_folders(walked.images, folder, numbered), walked)
    raise DataError(
        f"{folder} has no known layout; it holds {format_count(walked.images, 'image')} and "
        f"{format_count(tables, 'csv file')}.",
        hint=_name_folders(walked.images, folder) + ALLOWED,
    )


def _with_passed_over(found: SourceRows, walked: FoundFiles, used: Path | None = None) -> SourceRows:
    found.passed_over = walked.passed_over(used)
    return found


def _without(walked: FoundFiles, tables: Sequence[Path]) -> FoundFiles:
    others = [path for path in walked.others if path not in tables]
    return FoundFiles(walked.images, others, walked.skipped)


def _is_near_table(path: Path, folder: Path) -> bool:
    near = len(path.relative_to(folder).parts) <= MAX_DEPTH + 1
    return near and path.suffix.lower() in {".csv", ".tsv"}


def _name_folders(images: Sequence[Path], folder: Path) -> str:
    """The images' folders with counts, for a message; '' where all lie directly in `folder`."""
    counts = Counter(path.parent.name for path in images if path.parent != folder)
    if not counts:
        return ""
    named = ", ".join(f"'{name}' {count:,}" for name, count in counts.most_common(MAX_NAMED))
    return f"Its folders are {named}; --map NAME=YOUNG says which group one is. "


def _is_kaggle(table: Path) -> bool:
    if table.name.lower() != "train.csv":
        return False
    return {"ID", "Class"} <= set(read_csv(table).columns)


def _read_kaggle(table: Path, images: list[Path]) -> SourceRows:
    """Rows in the published order; every listed image must be there, an ID may lack its suffix."""
    raw = read_csv(table).rows
    folder = _train_folder(table, images, raw)
    there = [path for path in images if path.parent == folder]
    names = {path.stem: path.name for path in there} | {path.name: path.name for path in there}
    missing = [row["ID"] for row in raw if row["ID"] not in names]
    if missing:
        raise DataError(
            f"{folder.parent} is half-downloaded: {len(missing)} of {format_count(raw, 'image')} that "
            f"{table.name} lists are missing, such as {', '.join(missing[:3])}.",
            hint="Download or extract the set again.",
        )
    rows = [
        {"path": f"{folder.name}/{names[row['ID']]}", "label": row["Class"], SOURCE: FILM_FACES}
        | rename_reserved(row, "ID", "Class")
        for row in raw
    ]
    return SourceRows("kaggle_folder", folder.parent, rows)


def _train_folder(table: Path, images: list[Path], rows: Sequence[Row]) -> Path:
    """The folder `Train` that holds most of the first listed images."""
    first = {row["ID"] for row in rows[:100]}
    found = Counter(path.parent for path in images if path.parent.name.lower() == "train")
    listed = Counter(path.parent for path in images if {path.name, path.stem} & first)
    return max(found, key=lambda folder: listed[folder], default=table.parent / "Train")


def _class_of(path: Path, folder: Path, grouping: Grouping) -> str:
    """The first folder on the way to an image that is named like a group."""
    return next((part for part in path.relative_to(folder).parts[:-1] if grouping.is_word(part)), "")


def _read_class_folders(images: list[Path], folder: Path, grouping: Grouping) -> SourceRows:
    found = SourceRows("class_folders", folder, [])
    for path in images:
        if label := _class_of(path, folder, grouping):
            found.rows.append({"path": _relative(path, folder), "label": label})
        else:
            _exclude_folder(found, path)
    return found


def _exclude_folder(found: SourceRows, path: Path) -> None:
    found.excluded["no_class_folder"] += 1
    found.unmatched[path.parent.name if path.parent != found.root else "(no folder)"] += 1


def _numbered_folders(images: list[Path], folder: Path) -> set[str]:
    """Names of folders that are an age, a range of ages or the index of a group."""
    parts = {part for path in images for part in path.relative_to(folder).parts[:-1]}
    return {part for part in parts if parse_ages(part)}


def _read_age_folders(images: list[Path], folder: Path, numbered: set[str]) -> SourceRows:
    """Rows by the first folder named by age; folders 0, 1, 2 alone are the groups' indices."""
    are_indices = len(numbered) > 1 and numbered <= {"0", "1", "2"}
    found = SourceRows("class_folders" if are_indices else "age_folders", folder, [])
    for path in images:
        part = next((part for part in path.relative_to(folder).parts[:-1] if part in numbered), "")
        if part:
            found.rows.append({"path": _relative(path, folder), "label" if are_indices else AGE: part})
        else:
            _exclude_folder(found, path)
    return found


def _read_utkface(images: list[Path], folder: Path) -> SourceRows:
    found = SourceRows("utkface", folder, [])
    for path in images:
        match = _UTKFACE.fullmatch(path.name)
        if not match:
            found.excluded["no_age"] += 1
            continue
        age, gender, race = [*match["fields"].split("_"), "", ""][:3]
        others = {"gender": _GENDERS.get(gender, ""), "race": race, SOURCE: UTKFACE}
        found.rows.append({"path": _relative(path, folder), AGE: age} | others)
    return found


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def read_set_csv(table: Path, root: Path | None = None, layout: str | None = None) -> SourceRows | None:
    """Rows of one csv of a published set, its images below `root` or beside it; None for another csv."""
    folder = (root or table.parent).resolve()
    found = find_layout(Files(table.parent, [], [table]), layout)
    if found is None:
        return None
    walked = find_images(folder)
    return _with_passed_over(found.read(Files(folder, walked.images, [table])), walked, table)


def read_faces_csv(table: Path, given: ColumnNames, root: Path | None = None) -> SourceRows:
    """Rows of any csv with a path and a label or age column; labels win unless an age column is given.

    Paths are relative to `root`, by default as `manifest_root` says.
    """
    content = read_table(table)
    names = find_columns(content, table, given)
    if _is_kaggle(table) and (table.parent / "Train").is_dir():
        return _read_kaggle(table, find_images(table.parent, depth=MAX_DEPTH).images)
    assert names.path is not None
    rows = []
    for row in content.rows:
        known = {"path": row[names.path]} | ({"label": row[names.label]} if names.label else {})
        known |= {AGE: row[names.age]} if names.age else {}
        rows.append(known | rename_reserved(row, names.path, names.label, names.age))
    return SourceRows("csv", (root or manifest_root(table)).resolve(), rows)
