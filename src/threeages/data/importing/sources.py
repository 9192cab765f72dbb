"""From a published data set, zip, folder or csv to a manifest: one row per labelled image."""

import datetime
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from threeages.data.ages import Ages, interval_cells, plain_age, read_interval
from threeages.data.columns import (
    AGE,
    AGE_HIGH,
    AGE_HOW,
    AGE_LOW,
    PATH_NAMES,
    WITHHELD,
    ColumnNames,
    pick_column,
    rename_reserved,
)
from threeages.data.importing.archive import extract_archive, is_archive
from threeages.data.importing.crops import crop_faces
from threeages.data.importing.grouping import SEVERAL_GROUPS, Grouped, Grouping
from threeages.data.importing.layouts import ALLOWED, MAX_NAMED, read_faces_csv, read_folder, read_set_csv
from threeages.data.importing.rows import BOX, SourceRows
from threeages.data.manifest import IDENTITY, IDENTITY_ALIASES, Manifest, name_identity, save_manifest
from threeages.data.paths import FileFinder, path_inside, root_hint
from threeages.errors import DataError, MissingDependencyError, describe_cause, format_count
from threeages.files.csvfiles import Row, read_csv
from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds, label_index

_KAGGLE = re.compile(r"kaggle:(?P<handle>[\w.-]+/[\w.-]+(/versions/\d+)?)")
_OFFICE = {".xlsx", ".xls", ".xlsm", ".ods"}


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
    cache_dir: Path | None = None,
) -> ImportResult:
    """Write the manifest `out` (csv and json sidecar) of a source; the images stay where they are.

    `identities` is a csv with a file name and an identity or person; all its columns join the manifest.
    `crops` is by default a folder beside `out`, named NAME-crops; it is written for a set whose photos show
    more than one face. For the other arguments and the errors see `read_source`.
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
    place = _fetch(source, cache_dir)
    grouping = Grouping(bounds, mapping or {})
    if place.is_file():
        found = _read_csv(place, columns, root.resolve() if root else None, layout)
    elif root:
        raise DataError(f"--root was given, but {source} is no csv.", hint="Give it with a csv only.")
    else:
        found = read_folder(place, columns, grouping, layout)
    rows = _UsableRows(found, grouping, children)
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
    if path.suffix.lower() in _OFFICE:
        raise DataError(f"'{source}' is a spreadsheet.", hint="Save its table as 'CSV UTF-8' and give that.")
    if is_archive(path):
        return extract_archive(path, cache_dir=cache_dir).resolve()
    return path.absolute()


def _download(handle: str) -> Path:
    try:
        import kagglehub
    except ImportError as error:
        raise MissingDependencyError("kagglehub", "kaggle") from error
    try:
        return Path(kagglehub.dataset_download(handle)).resolve()
    except Exception as error:  # network, login, quota and disk errors come as many unrelated types
        raise DataError(
            f"Kaggle did not deliver '{handle}': {describe_cause(error)}.",
            hint=f"Download the zip by hand from https://www.kaggle.com/datasets/{handle} and give its path.",
        ) from error


class _UsableRows:
    """Iterates over the rows with an image inside the root and a label by name.

    The others are counted in `found.excluded`, with examples for `notes`. `children` keeps a row whose age
    lies below the bounds; its label is empty.
    """

    def __init__(self, found: SourceRows, grouping: Grouping, children: bool) -> None:
        self.found, self.grouping, self.children = found, grouping, children
        # a walk found the files of the other kinds
        self.finder = FileFinder(found.root) if found.kind == "csv" else None
        self.outside: list[str] = []
        self.missing: list[str] = list(found.missing)
        self.ranges: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        seen: set[tuple[str, str]] = set()
        if self.found.missing:
            self.found.excluded["missing"] += len(self.found.missing)
        for row in self.found.rows:
            path, reason = self._find(row["path"])
            face = (path, row.get(BOX, ""))
            if face in seen:
                reason = "duplicate_row"
            grouped, text = self._group(row)
            if not reason and grouped.label is None and not self._keeps(grouped):
                reason = self._note(grouped, text)
            if reason:
                self.found.excluded[reason] += 1
                continue
            seen.add(face)
            if grouped.reason == SEVERAL_GROUPS:
                self.ranges[text] += 1
            label = "" if grouped.label is None else AGE_GROUPS[grouped.label]
            yield row | {"path": path, "label": label} | _age_cells(row, grouped, text)

    def _find(self, name: str) -> tuple[str, str]:
        """The path in the manifest, or '' and the reason why there is none."""
        if not name:
            return "", "no_path"
        inside = path_inside(name, self.found.root)
        if inside is None:
            self.outside.append(name)
            return "", "outside_root"
        path = self.finder.find(inside) if self.finder else inside
        if path is None:
            self.missing.append(name)
        return path or "", "" if path else "missing"

    def _group(self, row: Row) -> tuple[Grouped, str]:
        """The group with the text that it was read from; a range that the row gives goes before its age."""
        if row.get(AGE_HOW, "").casefold() == WITHHELD:
            return Grouped(None, WITHHELD), ""
        if row.get("label"):
            return self.grouping.read_label(row["label"]), row["label"]
        if interval := read_interval(row.get(AGE_LOW, ""), row.get(AGE_HIGH, "")):
            return self.grouping.group_ages(interval), f"{interval.low:g}-{interval.high:g}"
        if AGE in row and "label" not in row:
            return self.grouping.read_age(row[AGE]), row[AGE]
        return Grouped(None, "no_label" if "label" in row else "no_age"), ""

    def _keeps(self, grouped: Grouped) -> bool:
        """Whether a row without a label is one: a range for a head for years, a child, or any face at all."""
        if grouped.reason == SEVERAL_GROUPS:
            return True
        if grouped.ages is not None and grouped.reason == self.grouping.under:
            return self.children
        return self.found.keeps_unlabelled and grouped.ages is None

    def _note(self, grouped: Grouped, text: str) -> str:
        if text and grouped.reason != self.grouping.under:
            self.found.unmatched[text] += 1
        return grouped.reason

    def notes(self) -> list[str]:
        """What was excluded by name, and what would include it."""
        notes = []
        if self.found.unmatched:
            first = next(name for name, _ in self.found.unmatched.most_common())
            notes.append(
                f"No group has the name {_counts(self.found.unmatched)}. Give it one with "
                f"--map '{first}=MIDDLE'."
            )
        if self.ranges:
            notes.append(
                f"More than one group is in {_counts(self.ranges)}: no label, but years to learn from. "
                "Set where groups begin with --bounds."
            )
        if self.missing:
            what = format_count(self.missing, "missing file")
            elsewhere = "Name another folder with --root." if self.finder else "The set is not whole there."
            notes.append(
                f"There {'is' if len(self.missing) == 1 else 'are'} {what}, first {self.missing[0]} in "
                f"{self.found.root}. {elsewhere}"
            )
        if self.outside:
            notes.append(
                f"{format_count(self.outside, 'path leaves', 'paths leave')} {self.found.root}, first "
                f"{self.outside[0]}. {root_hint(self.outside)}"
            )
        return notes


def _age_cells(row: Row, grouped: Grouped, text: str) -> Row:
    """The cells of ages: a single one as a number, and the two ends of a range.

    What is withheld is left out, so that no head learns from it and no metric is measured on it.
    """
    if grouped.reason == WITHHELD:
        return {AGE: "", AGE_LOW: "", AGE_HIGH: ""}
    if grouped.ages and grouped.ages.is_range:
        age = row.get(AGE, "")
        return {AGE: "" if age == text else plain_age(age)} | _interval(grouped.ages)
    if row.get(AGE) and not row.get("label") and not grouped.ages:  # a label in the column of ages, or no age
        return {AGE: ""}
    return {AGE: plain_age(row[AGE])} if AGE in row else {}


def _interval(ages: Ages) -> Row:
    return dict(zip((AGE_LOW, AGE_HIGH), interval_cells(ages), strict=True))


def _list_counts(excluded: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in excluded.items()) or "nothing"


def _counts(names: Counter[str]) -> str:
    rest = len(names) - MAX_NAMED
    named = ", ".join(f"'{name}' ({count:,})" for name, count in names.most_common(MAX_NAMED))
    return f"{named} and {rest:,} others" if rest > 0 else named


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
