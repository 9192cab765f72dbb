"""From a published data set, zip, folder or csv to a manifest: one row per labelled image."""

import datetime
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from threeages.data.archive import extract_zip
from threeages.data.layouts import (
    AGE,
    ALLOWED,
    PATH_NAMES,
    SourceRows,
    pick_column,
    read_faces_csv,
    read_folder,
    rename_reserved,
)
from threeages.data.manifest import IDENTITY, IDENTITY_ALIASES, Manifest, name_identity, save_manifest
from threeages.errors import DataError, MissingDependencyError
from threeages.files import Row, read_csv
from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds, label_index

MAX_AGE = 130.0  # years; a larger number is no age
_KAGGLE = re.compile(r"kaggle:(?P<handle>[\w.-]+/[\w.-]+(/versions/\d+)?)")


@dataclass(frozen=True)
class ImportResult:
    """The saved manifest, the number of excluded rows by reason, and the kind of source.

    `kind` is `kaggle_folder`, `class_folders`, `utkface` or `csv`.
    """

    manifest: Manifest
    excluded: dict[str, int]
    kind: str


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
    found = read_faces_csv(place, age_column) if place.is_file() else read_folder(place, age_column)
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
            raise DataError(f"'{source}' is no name of a Kaggle data set.", hint="Write kaggle:owner/name.")
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


def _usable(found: SourceRows, bounds: AgeBounds, children: bool) -> Iterator[Row]:
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


def _inside(name: str, root: Path) -> str:
    """The path relative to `root`, or '' where it names nothing in it, also through a link."""
    try:
        path = root / name.replace("\\", "/")
        inside = path.is_relative_to(root) and path.resolve().is_relative_to(root)
    except (OSError, ValueError, RuntimeError):  # a name no file can have
        return ""
    return path.relative_to(root).as_posix() if inside and path != root else ""


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
    key = pick_column(table.columns, PATH_NAMES)
    who = pick_column(table.columns, (IDENTITY, *IDENTITY_ALIASES))
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
        row |= rename_reserved(cells, key, who) | {IDENTITY: cells[who]}


def _to_manifest(root: Path, rows: list[Row]) -> Manifest:
    names = list(dict.fromkeys(name for row in rows for name in row if name not in {"path", "label"}))
    labels = [label_index(row["label"]) if row["label"] else UNKNOWN for row in rows]
    columns = name_identity({name: tuple(row.get(name, "") for row in rows) for name in names})
    return Manifest(
        root.resolve(), tuple(row["path"] for row in rows), np.asarray(labels, dtype=np.int64), columns
    )
