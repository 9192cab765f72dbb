"""From a published data set, zip, folder or csv to a manifest: one row per labelled image."""

import datetime
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from threeages.data.archive import extract_zip
from threeages.data.manifest import (
    IDENTITY,
    IDENTITY_ALIASES,
    Manifest,
    name_identity,
    read_manifest,
    save_manifest,
)
from threeages.errors import DataError, MissingDependencyError
from threeages.faces.images import SUFFIXES
from threeages.files import CsvTable, Row, read_csv
from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds, label_index

ALLOWED = (
    "Allowed: kaggle:owner/slug; a zip; a folder with train.csv (ID,Class) and Train/; a folder with the "
    "subfolders young, middle, old; a folder of UTKFace files; a csv with a path and a label or age column."
)
PATH_NAMES = ("path", "id", "image", "file", "filename")
LABEL_NAMES = ("label", "class", "age_group")
AGE = "age"
MAX_AGE = 130.0  # years; a larger number is no age
MAX_DEPTH = 3  # folders inside folders that a download may add around the set

_KAGGLE = re.compile(r"kaggle:(?P<handle>[\w.-]+/[\w.-]+(/versions/\d+)?)")
_UTKFACE = re.compile(r"(?P<fields>\d*(_\d*){0,2})_(?P<date>\d{14,20})\.?(jpg\.chip\.)?jpg", re.IGNORECASE)
_GENDERS = {"0": "MALE", "1": "FEMALE"}


@dataclass(frozen=True)
class ImportResult:
    """The saved manifest, the number of excluded rows by reason, and the kind of source.

    `kind` is `kaggle_folder`, `class_folders`, `utkface` or `csv`.
    """

    manifest: Manifest
    excluded: dict[str, int]
    kind: str


@dataclass
class _Found:
    """Rows of a source with `path`, other columns, and a `label` or an `age` in years."""

    kind: str
    root: Path
    rows: list[Row]
    excluded: Counter[str] = field(default_factory=Counter)


def import_source(
    source: str,
    *,
    out: Path,
    identities: Path | None = None,
    bounds: AgeBounds = AgeBounds(),  # noqa: B008 - frozen
    age_column: str | None = None,
    children: bool = False,
    cache_dir: Path | None = None,
) -> ImportResult:
    """Write the manifest `out` (csv and json sidecar) of a source; the images stay where they are.

    `source` is a Kaggle name, a zip, a folder or a csv, see `ALLOWED`. `identities` is a csv with the columns
    ID (a file name) and identity or person; all its columns join the manifest. `age_column` names the column
    of years of a csv, which `bounds` turns into labels. Rows without a usable label, or below `bounds.young`
    years, are excluded and counted; `children` keeps the latter without a label. Raises DataError where the
    source is of no kind in `ALLOWED`, is incomplete or has no usable row, MissingDependencyError where a
    Kaggle name needs `kagglehub`.
    """
    place = _fetch(source, cache_dir)
    if out.resolve() == place.resolve():
        raise DataError(f"The manifest would replace its own source {out}.", hint="Give another output file.")
    found = _read_csv(place, age_column) if place.is_file() else _read_folder(place, age_column)
    rows = list(_usable(found, bounds, children))
    if not rows:
        raise DataError(
            f"No usable row in {source}; excluded: {dict(found.excluded) or 'nothing'}.", hint=ALLOWED
        )
    if identities is not None:
        _join_identities(rows, identities)
    manifest = _to_manifest(found.root, rows)
    provenance = {
        "source": source,
        "kind": found.kind,
        "bounds": asdict(bounds),
        "excluded": dict(found.excluded),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    save_manifest(manifest, out, provenance=provenance)
    return ImportResult(manifest, dict(found.excluded), found.kind)


def _fetch(source: str, cache_dir: Path | None) -> Path:
    """Local folder or csv of a source."""
    if source.startswith("kaggle:"):
        match = _KAGGLE.fullmatch(source)
        if not match:
            raise DataError(f"'{source}' is no name of a Kaggle data set.", hint="Write kaggle:owner/slug.")
        return _download(match["handle"])
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve()
    if not path.is_file():
        raise DataError(f"There is no file or folder '{source}'.", hint=ALLOWED)
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return extract_zip(path, cache_dir=cache_dir).resolve()
    if path.suffix.lower() != ".csv":
        raise DataError(f"'{source}' is neither a zip nor a csv.", hint=ALLOWED)
    return path.resolve()


def _download(handle: str) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        raise MissingDependencyError("kagglehub", "kaggle") from error
    try:
        return Path(kagglehub.dataset_download(handle)).resolve()
    except Exception as error:  # network, login, quota and disk errors come as many unrelated types
        raise DataError(
            f"Kaggle did not deliver '{handle}': {error}",
            hint=f"Download the zip by hand from https://www.kaggle.com/datasets/{handle} and give its path.",
        ) from error


def _read_folder(folder: Path, age_column: str | None) -> _Found:
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
        return _read_csv(tables[0], age_column)
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


def _read_kaggle(table: Path, folder: Path) -> _Found:
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
        {"path": f"{images.name}/{row['ID']}", "label": row["Class"]} | _others(row, "ID", "Class")
        for row in raw
    ]
    return _Found("kaggle_folder", images.parent, rows)


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


def _read_class_folders(images: list[Path], folder: Path) -> _Found:
    found = _Found("class_folders", folder, [])
    for path in images:
        if label := _class_of(path, folder):
            found.rows.append({"path": _relative(path, folder), "label": label})
        else:
            found.excluded["no_class_folder"] += 1
    return found


def _read_utkface(images: list[Path], folder: Path) -> _Found:
    found = _Found("utkface", folder, [])
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


def _read_csv(table: Path, age_column: str | None) -> _Found:
    """Rows of any csv with a path and a label or age column; labels win unless `age_column` is given."""
    content = read_csv(table)
    path_name, label_name, age_name = _pick_columns(content, table, age_column)
    if _is_kaggle(table) and (table.parent / "Train").is_dir():
        return _read_kaggle(table, table.parent)
    root = read_manifest(table, need_label=False)[0].root if path_name == "path" else table.parent
    rows = []
    for row in content.rows:
        known = {"path": row[path_name]} | ({"label": row[label_name]} if label_name else {})
        known |= {AGE: row[age_name]} if age_name else {}
        rows.append(known | _others(row, path_name, label_name, age_name))
    return _Found("csv", root, rows)


def _pick_columns(
    content: CsvTable, table: Path, age_column: str | None
) -> tuple[str, str | None, str | None]:
    """Names of the path, label and age columns; raises DataError where a path or both others lack."""
    names = content.columns
    if age_column is not None and age_column not in names:
        raise DataError(f"{table} has no column '{age_column}'.", hint=f"Its columns: {', '.join(names)}.")
    path_name = _pick(names, PATH_NAMES)
    label_name = None if age_column else _pick(names, LABEL_NAMES)
    age_name = age_column or _pick(names, (AGE,))
    if path_name is None or (label_name is None and age_name is None):
        raise DataError(
            f"{table} has the columns {', '.join(names) or 'none'}.",
            hint=f"It needs one of {', '.join(PATH_NAMES)} and one of {', '.join(LABEL_NAMES)}, {AGE}.",
        )
    return path_name, label_name, age_name


def _pick(names: Sequence[str], allowed: tuple[str, ...]) -> str | None:
    """The column whose name, in lower case, comes first in `allowed`."""
    by_key = {name.lower(): name for name in reversed(names)}
    return next((by_key[key] for key in allowed if key in by_key), None)


def _inside(name: str, root: Path) -> str:
    """The path relative to `root`, or '' where it names nothing in it, also through a link."""
    try:
        path = root / name.replace("\\", "/")
        inside = path.is_relative_to(root) and path.resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):  # a name no file can have
        return ""
    return path.relative_to(root).as_posix() if inside and path != root else ""


def _others(row: Row, *used: str | None) -> Row:
    """The columns not used; one with the name of a path, label or age becomes `source_...`."""
    rest = {name: value for name, value in row.items() if name not in used}
    return {f"source_{k}" if k in {"path", "label", AGE} else k: v for k, v in rest.items()}


def _usable(found: _Found, bounds: AgeBounds, children: bool) -> Iterator[Row]:
    """Rows with a path inside the root and a label by name; the others are counted in `found.excluded`.

    `children` keeps a row whose age lies below the bounds; its label is empty.
    """
    seen: set[str] = set()
    for row in found.rows:
        path = _inside(row["path"], found.root)
        label, reason = _given_label(row["label"]) if "label" in row else _label_of_age(row[AGE], bounds)
        if not path or path in seen:
            reason = "no_path" if not row["path"] else "outside_root" if not path else "duplicate_row"
            found.excluded[reason] += 1
        elif label is None and not (children and reason == f"under_{bounds.young:g}"):
            found.excluded[reason] += 1
        else:
            seen.add(path)
            yield row | {"path": path, "label": "" if label is None else AGE_GROUPS[label]}


def _given_label(text: str) -> tuple[int | None, str]:
    try:
        return label_index(text), ""
    except DataError:
        return None, "bad_label" if text else "no_label"


def _label_of_age(text: str, bounds: AgeBounds) -> tuple[int | None, str]:
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if not 0 <= age <= MAX_AGE:
        return None, "no_age"
    return bounds.label(age), f"under_{bounds.young:g}"


def _join_identities(rows: list[Row], path: Path) -> None:
    """Add the columns of a csv to the rows by file name, '' where it has no row for an image."""
    table = read_csv(path)
    key = _pick(table.columns, PATH_NAMES)
    who = _pick(table.columns, (IDENTITY, *IDENTITY_ALIASES))
    if key is None or who is None:
        raise DataError(
            f"{path} has the columns {', '.join(table.columns) or 'none'}.",
            hint="It needs the columns ID and identity (or person).",
        )
    known = {Path(row[key]).name: row for row in table.rows}
    if not any(Path(row["path"]).name in known for row in rows):
        raise DataError(f"{path} names none of the {len(rows)} images.", hint="Its ID is a file name.")
    for row in rows:
        match = known.get(Path(row["path"]).name, {})
        cells = {name: match.get(name, "") for name in table.columns}
        row |= _others(cells, key, who) | {IDENTITY: cells[who]}


def _to_manifest(root: Path, rows: list[Row]) -> Manifest:
    names = list(dict.fromkeys(name for row in rows for name in row if name not in {"path", "label"}))
    labels = [label_index(row["label"]) if row["label"] else UNKNOWN for row in rows]
    columns = name_identity({name: tuple(row.get(name, "") for row in rows) for name in names})
    return Manifest(
        root.resolve(), tuple(row["path"] for row in rows), np.asarray(labels, dtype=np.int64), columns
    )
