"""From a published data set, zip, folder or csv to a manifest: one row per labelled image."""

import datetime
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from threeages.csvfiles import Row, read_csv
from threeages.data.ages import plain_age
from threeages.data.archive import extract_archive, is_archive
from threeages.data.columns import AGE, PATH_NAMES, ColumnNames, pick_column, rename_reserved
from threeages.data.grouping import SEVERAL_GROUPS, Grouped, Grouping
from threeages.data.layouts import ALLOWED, MAX_NAMED, SourceRows, read_faces_csv, read_folder
from threeages.data.manifest import IDENTITY, IDENTITY_ALIASES, Manifest, name_identity, save_manifest
from threeages.data.paths import FileFinder, path_inside, root_hint
from threeages.errors import DataError, MissingDependencyError, describe_cause, format_count
from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds, label_index

AGE_RANGE = "age_range"  # column: the range of ages that a row was given in place of an age
_KAGGLE = re.compile(r"kaggle:(?P<handle>[\w.-]+/[\w.-]+(/versions/\d+)?)")
_OFFICE = {".xlsx", ".xls", ".xlsm", ".ods"}


@dataclass(frozen=True)
class ImportResult:
    """A manifest, the number of excluded rows by reason, and the kind of source.

    `kind` is `kaggle_folder`, `class_folders`, `age_folders`, `utkface` or `csv`. `notes` are sentences about
    what was excluded and what would include it; `passed_over` counts files that are no images, by kind.
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
    cache_dir: Path | None = None,
) -> ImportResult:
    """Write the manifest `out` (csv and json sidecar) of a source; the images stay where they are.

    `identities` is a csv with a file name and an identity or person; all its columns join the manifest. For
    the other arguments and the errors see `read_source`.
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
    cache_dir: Path | None = None,
) -> ImportResult:
    """The manifest of a source, not saved.

    `source` is a Kaggle name, an archive, a folder or a csv, see `ALLOWED`; `columns` names the columns of a
    csv where they have unusual names, and `root` the folder of its paths. `mapping` gives label indices by
    name, as `parse_mapping` makes them; `bounds` turns ages into labels. Rows without a usable label or file,
    or below `bounds.young` years, are excluded and counted; `children` keeps the latter without a label.
    Raises DataError where the source is of no kind in `ALLOWED`, is incomplete or has no usable row,
    MissingDependencyError where a Kaggle name needs `kagglehub`.
    """
    place = _fetch(source, cache_dir)
    grouping = Grouping(bounds, mapping or {})
    if place.is_file():
        found = read_faces_csv(place, columns, root.resolve() if root else None)
    elif root:
        raise DataError(f"--root was given, but {source} is no csv.", hint="Give it with a csv only.")
    else:
        found = read_folder(place, columns, grouping)
    rows = _UsableRows(found, grouping, children)
    usable = list(rows)
    if not usable:
        raise DataError(
            f"No usable row in {source}; excluded: {_list_counts(found.excluded)}.",
            hint=" ".join(rows.notes()) or ALLOWED,
        )
    if identities is not None:
        _join_identities(usable, identities)
    manifest = _to_manifest(found.root, usable)
    return ImportResult(manifest, dict(found.excluded), found.kind, tuple(rows.notes()), found.passed_over)


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
        self.finder = (
            FileFinder(found.root) if found.kind == "csv" else None
        )  # a walk found the others' files
        self.outside: list[str] = []
        self.missing: list[str] = []
        self.ranges: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        seen: set[str] = set()
        for row in self.found.rows:
            path, reason = self._find(row["path"])
            if path in seen:
                reason = "duplicate_row"
            grouped, text = self._group(row)
            if not reason and grouped.label is None and not self._is_child(grouped):
                reason = self._note(grouped, text)
            if reason:
                self.found.excluded[reason] += 1
            else:
                seen.add(path)
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
        if "label" in row:
            return self.grouping.read_label(row["label"]), row["label"]
        return self.grouping.read_age(row[AGE]), row[AGE]

    def _is_child(self, grouped: Grouped) -> bool:
        single = grouped.ages is not None and not grouped.ages.is_range
        return self.children and single and grouped.reason == self.grouping.under

    def _note(self, grouped: Grouped, text: str) -> str:
        if grouped.reason == SEVERAL_GROUPS:
            self.ranges[text] += 1
        elif text and grouped.reason != self.grouping.under:
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
                f"More than one group is in {_counts(self.ranges)}. Set where groups begin with --bounds."
            )
        if self.missing:
            what = format_count(self.missing, "missing file")
            notes.append(
                f"There {'is' if len(self.missing) == 1 else 'are'} {what}, first {self.missing[0]} in "
                f"{self.found.root}. Name another folder with --root."
            )
        if self.outside:
            notes.append(
                f"{format_count(self.outside, 'path leaves', 'paths leave')} {self.found.root}, first "
                f"{self.outside[0]}. {root_hint(self.outside)}"
            )
        return notes


def _age_cells(row: Row, grouped: Grouped, text: str) -> Row:
    """The cell of a single age as a number; a range goes into a column of its own."""
    if grouped.ages and grouped.ages.is_range:
        return {AGE_RANGE: text} | ({AGE: ""} if row.get(AGE) == text else {})
    if "label" not in row and not grouped.ages:  # a label in the column of ages
        return {AGE: ""}
    return {AGE: plain_age(row[AGE])} if AGE in row else {}


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
