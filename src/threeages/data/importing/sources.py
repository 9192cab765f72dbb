"""From a published data set, zip, folder or csv to a manifest: one row per labelled image."""

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from threeages.data.columns import PATH_NAMES, ColumnNames, pick_column, rename_reserved
from threeages.data.correcting import apply_corrections
from threeages.data.importing.crops import crop_faces
from threeages.data.importing.fetching import fetch_source
from threeages.data.importing.grouping import Grouping
from threeages.data.importing.layouts import ALLOWED, read_faces_csv, read_folder, read_set_csv
from threeages.data.importing.rows import BOX, SourceRows
from threeages.data.importing.usable import UsableRows
from threeages.data.manifest import IDENTITY, IDENTITY_ALIASES, Manifest, name_identity, save_manifest
from threeages.errors import DataError, format_count
from threeages.files.csvfiles import Row, read_csv
from threeages.labels import UNKNOWN, AgeBounds, label_index


@dataclass(frozen=True)
class ImportResult:
    """A manifest, the number of excluded rows by reason, and the kind of source.

    `kind` is `kaggle_folder`, `class_folders`, `age_folders`, `utkface`, `csv` or the name of a published set
    (sets.registry.SETS). `notes` are sentences about what was excluded and what would include it;
    `passed_over` counts files that are no images, by kind.
    """

    manifest: Manifest
    excluded: dict[str, int]
    kind: str
    notes: tuple[str, ...] = ()
    passed_over: Counter[str] = field(default_factory=Counter)


def import_source(
    source: str,
    *,
    out: Path,
    identities: Path | None = None,
    bounds: AgeBounds = AgeBounds(),  # noqa: B008 - frozen
    columns: ColumnNames = ColumnNames(),  # noqa: B008 - frozen
    mapping: Mapping[str, int] | None = None,
    root: Path | None = None,
    children: bool = False,
    layout: str | None = None,
    crops: Path | None = None,
    corrections: Path | None = None,
    cache_dir: Path | None = None,
) -> ImportResult:
    """Write the manifest `out` (csv and json sidecar) of a source; the images stay where they are.

    `identities` is a csv with a file name and an identity or person; all its columns join the manifest.
    `crops` is by default a folder beside `out`, named NAME-crops; it is written for a set whose photos show
    more than one face.
    `corrections` is a csv of reviewed labels (data.correcting). For the other arguments and the errors see
    `read_source`.
    """
    if out.exists() and out.resolve() == Path(source).expanduser().resolve():
        raise DataError(f"The manifest would replace its own source {out}.", hint="Give another output file.")
    result = read_source(
        source,
        identities=identities,
        bounds=bounds,
        columns=columns,
        mapping=mapping,
        root=root,
        children=children,
        layout=layout,
        crops=crops or out.with_name(f"{out.stem}-crops"),
        cache_dir=cache_dir,
    )
    provenance = {
        "source": source,
        "kind": result.kind,
        "bounds": asdict(bounds),
        "excluded": result.excluded,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if corrections:
        corrected = apply_corrections(result.manifest, corrections, bounds)
        provenance["corrections"] = corrected.to_dict()
        result = replace(result, manifest=corrected.manifest, notes=(*result.notes, *corrected.notes()))
    save_manifest(result.manifest, out, provenance=provenance)
    return result


def read_source(
    source: str,
    *,
    identities: Path | None = None,
    bounds: AgeBounds = AgeBounds(),  # noqa: B008 - frozen
    columns: ColumnNames = ColumnNames(),  # noqa: B008 - frozen
    mapping: Mapping[str, int] | None = None,
    root: Path | None = None,
    children: bool = False,
    layout: str | None = None,
    crops: Path | None = None,
    cache_dir: Path | None = None,
) -> ImportResult:
    """The manifest of a source, not saved.

    `source` is a Kaggle name, an archive, a folder or a csv, see `ALLOWED`; `columns` names the columns of a
    csv where they have unusual names, and `root` the folder of its paths. `mapping` gives label indices by
    name, as `parse_mapping` makes them; `bounds` turns ages into labels. Rows without a usable label or file,
    or below `bounds.young` years, are excluded and counted; `children` keeps the latter without a label. A
    range of ages in several groups has no label, and goes into the columns `age_low` and `age_high`. `layout`
    names a published set (sets.registry.SETS), which is else found by its files; the faces of one whose
    photos hold several are written as images into the folder `crops`.

    Raises DataError where the source is of no kind in `ALLOWED`, is incomplete or has no usable row,
    MissingDependencyError where a Kaggle name needs `kagglehub`.
    """
    place = fetch_source(source, cache_dir)
    grouping = Grouping(bounds, mapping or {})
    if place.is_file():
        found = _read_csv(place, columns, root.resolve() if root else None, layout)
    elif root:
        raise DataError(f"--root was given, but {source} is no csv.", hint="Give it with a csv only.")
    else:
        found = read_folder(place, columns, grouping, layout)
    rows = UsableRows(found, grouping, children)
    usable = _cut_faces(list(rows), found, crops)
    if not usable:
        raise DataError(
            f"No usable row in {source}; excluded: {_list_counts(found.excluded)}.",
            hint=" ".join(rows.notes()) or ALLOWED,
        )
    if identities is not None:
        _join_identities(usable, identities)
    manifest = _to_manifest(found.root, usable)
    return ImportResult(manifest, dict(found.excluded), found.kind, tuple(rows.notes()), found.passed_over)


def _read_csv(table: Path, columns: ColumnNames, root: Path | None, layout: str | None) -> SourceRows:
    """Rows of a csv: of the published set whose columns it has, unless columns are named; else of any."""
    published = read_set_csv(table, root, layout) if layout or columns == ColumnNames() else None
    return published or read_faces_csv(table, columns, root)


def _cut_faces(rows: list[Row], found: SourceRows, crops: Path | None) -> list[Row]:
    """The rows with their faces as images of their own where they have boxes; the root is then `crops`."""
    if not any(BOX in row for row in rows):
        return rows
    if crops is None:
        raise DataError(
            f"The photos of {found.kind} show more than one face each.",
            hint=f"Import them first, which writes the faces: threeages data import {found.root}",
        )
    kept, failed = crop_faces(rows, found.root, crops)
    found.root = crops
    found.excluded += failed
    return kept


def _list_counts(excluded: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in excluded.items()) or "nothing"


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
    known = {_file_name(row[key]): row for row in table.rows}
    matches = [
        known.get(name, known.get(Path(name).stem)) for name in (Path(row["path"]).name for row in rows)
    ]
    if not any(matches):
        raise DataError(f"{path} names none of {format_count(rows, 'image')}.", hint="Its ID is a file name.")
    for row, match in zip(rows, matches, strict=True):
        cells = {name: (match or {}).get(name, "") for name in table.columns}
        row |= rename_reserved(cells, key, who) | {IDENTITY: cells[who]}


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _to_manifest(root: Path, rows: list[Row]) -> Manifest:
    names = list(dict.fromkeys(name for row in rows for name in row if name not in {"path", "label"}))
    labels = [label_index(row["label"]) if row["label"] else UNKNOWN for row in rows]
    columns = name_identity({name: tuple(row.get(name, "") for row in rows) for name in names})
    return Manifest(
        root.resolve(), tuple(row["path"] for row in rows), np.asarray(labels, dtype=np.int64), columns
    )
