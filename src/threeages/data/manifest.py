"""One row per image: path, label and whatever else is known of it; csv or parquet in and out."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.ages import plain_age
from threeages.data.columns import AGE, AGE_HIGH, AGE_LOW, AGE_NAMES, LABEL_NAMES, PATH_NAMES, pick_column
from threeages.data.paths import path_inside, root_hint
from threeages.errors import DataError, ThreeAgesError, describe_cause, format_count
from threeages.files.arrow import import_arrow
from threeages.files.csvfiles import CsvTable, Row, format_rows, read_csv
from threeages.files.writing import format_json, write_together
from threeages.labels import AGE_GROUPS, UNKNOWN, label_index

IDENTITY = "identity"  # the column that names who is shown: rows of one identity stay on one side of a split
IDENTITY_ALIASES = ("cluster_id", "person")  # read as IDENTITY where that column is absent

Columns = dict[str, tuple[str, ...]]
Reason = tuple[str, str]  # status and message of a row that cannot be used


@dataclass(frozen=True)
class InvalidRow:
    """A row that cannot be used: its line in the file (the header is line 1), a status and the reason."""

    line: int
    path: str
    status: str  # `outside_root`, `bad_label`, `duplicate_row` or `no_path`
    message: str


@dataclass(frozen=True)
class Manifest:
    """Images of one root folder, in a fixed order.

    `labels` is int64 `(n,)`, UNKNOWN (-1) where there is none. `columns` holds every other column as text,
    '' where unknown; `identity` among them names who is shown.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    columns: Columns = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self)
        assert all(len(c) == len(self) for c in self.columns.values())

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> list[Path]:
        """Full path of every image."""
        return [self.root / path for path in self.paths]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Manifest":
        """A manifest of the rows of these indices, in the order given."""
        columns = {k: tuple(v[i] for i in rows) for k, v in self.columns.items()}
        labels = self.labels[np.asarray(rows, dtype=np.int64)]
        return Manifest(self.root, tuple(self.paths[i] for i in rows), labels, columns)

    def identities(self) -> NDArray[np.str_] | None:
        """Identity of every row as text `(n,)`, or None where the column is absent or empty in every row."""
        values = self.columns.get(IDENTITY)
        return np.asarray(values) if values and any(values) else None


def find_rows(
    columns: Mapping[str, Sequence[str]], column: str, value: str, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Those of `rows` whose cell in `column` is `value`; raises DataError where there is none."""
    cells = [columns[column][row] for row in rows] if column in columns else []
    found = [i for i, cell in enumerate(cells) if cell == value]
    if not found:
        known = ", ".join(sorted(set(cells))[:10]) or f"the columns {', '.join(columns) or '(none)'}"
        raise DataError(f"No row has {column}={value}.", hint=f"There are {known}.")
    return rows[found]


def name_identity(columns: Columns) -> Columns:
    """The columns with `identity`, or where it is absent the first of IDENTITY_ALIASES, named so."""
    alias = pick_column(list(columns), (IDENTITY, *IDENTITY_ALIASES))
    if alias is None or IDENTITY in columns:
        return columns
    return {IDENTITY if name == alias else name: cells for name, cells in columns.items()}


def read_manifest(
    path: Path,
    *,
    root: Path | None = None,
    need_label: bool = True,
    allow_empty: bool = False,
    allow_repeats: bool = False,
) -> tuple[Manifest, list[InvalidRow]]:
    """Read a csv or `.parquet` with the columns `path` and `label`; invalid rows are returned beside it.

    Paths are relative to `root`, see `manifest_root`; a link inside it may point anywhere. `need_label=False`
    allows rows without a label, and a table without their column; `allow_empty` the former alone.
    `allow_repeats` takes every row of a path that stands in several. Columns are found by their usual names
    in any case; `cluster_id` or `person` is read as `identity` where that column is absent. Raises DataError
    where the file cannot be read or lacks a column.
    """
    if path.is_dir():
        hint = f"Make a manifest of it first: threeages data import {path}"
        raise DataError(f"{path} is a folder, not a manifest.", hint=hint)
    table = _name_columns(read_table(path), path, need_label)
    base = (root or manifest_root(path)).resolve()
    invalid: list[InvalidRow] = []
    rows: list[Row] = []
    labels: list[int] = []
    seen: set[str] = set()
    for line, row in zip(table.lines, table.rows, strict=True):
        label, reason = _read_label(row.get("label", ""), need_label and not allow_empty)
        inside = path_inside(row["path"], base)
        reason = reason or _check_path(row["path"], inside, base, set() if allow_repeats else seen)
        if reason or inside is None:
            invalid.append(InvalidRow(line, row["path"], *(reason or ("no_path", ""))))
            continue
        seen.add(inside)
        rows.append(row | {"path": inside})
        labels.append(label)
    columns = {n: tuple(row[n] for row in rows) for n in table.columns if n not in {"path", "label"}}
    if AGE in columns:
        columns[AGE] = tuple(map(plain_age, columns[AGE]))
    elif {AGE_LOW, AGE_HIGH} & columns.keys():  # a head for years finds its labels by this column
        columns[AGE] = ("",) * len(rows)
    paths = tuple(row["path"] for row in rows)
    return Manifest(base, paths, np.asarray(labels, dtype=np.int64), name_identity(columns)), invalid


def manifest_root(path: Path) -> Path:
    """The folder named in the sidecar `<name>.json` of `save_manifest`, else the file's own folder."""
    return _sidecar_root(path) or path.parent


def load_manifest(
    path: Path,
    *,
    root: Path | None = None,
    need_label: bool = True,
    allow_empty: bool = False,
    allow_repeats: bool = False,
) -> Manifest:
    """Read a manifest as `read_manifest` does, where every row must be valid.

    Raises DataError where there is no row, or with the first five invalid rows.
    """
    manifest, invalid = read_manifest(
        path, root=root, need_label=need_label, allow_empty=allow_empty, allow_repeats=allow_repeats
    )
    if invalid:
        lines = "\n".join(f"  line {f.line}: {f.path!r}: {f.status}: {f.message}" for f in invalid[:5])
        more = f"\n  and {len(invalid) - 5} more" if len(invalid) > 5 else ""
        raise DataError(
            f"{path} has {format_count(invalid, 'row')} that cannot be used:\n{lines}{more}",
            hint=_correct_hint([row.path for row in invalid if row.status == "outside_root"]),
        )
    if not len(manifest):
        raise DataError(f"{path} has no rows.", hint="It needs at least one row: path,label.")
    return manifest


def save_manifest(manifest: Manifest, path: Path, *, provenance: dict[str, Any] | None = None) -> None:
    """Write a csv or `.parquet`, and a sidecar `<name>.json` with the root, the row count and `provenance`.

    Neither file takes its name before both are written. Raises DataError where one cannot be.
    """
    labels = [AGE_GROUPS[label] if label != UNKNOWN else "" for label in manifest.labels]
    columns = {"path": manifest.paths, "label": labels, **manifest.columns}
    if _is_parquet(path):
        content = _format_parquet(columns)
    else:
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        content = format_rows(rows, list(columns)).encode()
    sidecar = {"root": str(manifest.root), "rows": len(manifest), **(provenance or {})}
    write_together({path: content, path.with_suffix(".json"): format_json(sidecar).encode()})


def _format_parquet(columns: Mapping[str, Sequence[str]]) -> bytes:
    """The file's bytes; its pages carry checksums."""
    arrow, parquet = import_arrow()
    written = io.BytesIO()
    parquet.write_table(arrow.table(columns), written, write_page_checksum=True)
    return written.getvalue()


def _correct_hint(outside: list[str]) -> str:
    hint = "Correct or delete them, or run 'threeages data import', which reads more spellings."
    return f"{hint} {root_hint(outside)}" if outside else hint


def _name_columns(table: CsvTable, path: Path, need_label: bool) -> CsvTable:
    """The table with its path, label and age named so; raises DataError where a column is missing."""
    found = {
        "path": pick_column(table.columns, PATH_NAMES),
        "label": _find_label(table, need_label),
        AGE: pick_column(table.columns, AGE_NAMES[:1]),
    }
    missing = [name for name in ("path", "label")[: 1 + need_label] if found[name] is None]
    if missing:
        raise DataError(
            f"{path} has no column {' or '.join(missing)}; its columns are "
            f"{', '.join(table.columns) or 'none'}.",
            hint="A manifest has the columns path,label and optionally identity, age and others; "
            "'threeages data import' makes one of other columns.",
        )
    return rename_columns(table, {old: new for new, old in found.items() if old is not None})


def _find_label(table: CsvTable, need_label: bool) -> str | None:
    """The label's column; where none is needed, one named otherwise must hold nothing but labels."""
    name = pick_column(table.columns, LABEL_NAMES)
    if name is None or need_label or name == pick_column(table.columns, LABEL_NAMES[:1]):
        return name
    return name if all(_read_label(row[name], need_label)[1] is None for row in table.rows) else None


def rename_columns(table: CsvTable, names: Mapping[str, str]) -> CsvTable:
    """The table with columns renamed, old name to new; another of a new name becomes `source_...`."""
    taken = set(names.values())
    new = {name: names.get(name, f"source_{name}" if name in taken else name) for name in table.columns}
    if all(old == name for old, name in new.items()):
        return table
    rows = tuple({new[name]: cell for name, cell in row.items()} for row in table.rows)
    return CsvTable(tuple(new.values()), rows, table.lines)


def read_table(path: Path) -> CsvTable:
    """The cells of a csv or `.parquet` as text; raises DataError where it cannot be read."""
    return _read_parquet(path) if _is_parquet(path) else read_csv(path)


def _read_parquet(path: Path) -> CsvTable:
    """Values as stripped text, '' for null; row i counts as line i + 2, as in a csv."""
    arrow, parquet = import_arrow()
    try:
        table = parquet.read_table(path, page_checksum_verification=True)
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {describe_cause(error)}.", hint="Check the path and its permissions."
        ) from error
    except arrow.ArrowException as error:
        raise DataError(
            f"{path} is not a parquet file: {describe_cause(error)}.", hint="Write it again."
        ) from error
    rows = [{k: "" if v is None else str(v).strip() for k, v in row.items()} for row in table.to_pylist()]
    return CsvTable(tuple(table.column_names), tuple(rows), tuple(range(2, len(rows) + 2)))


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _read_label(text: str, need_label: bool) -> tuple[int, Reason | None]:
    if not text and not need_label:
        return UNKNOWN, None
    try:
        return label_index(text), None
    except ThreeAgesError as error:
        return UNKNOWN, ("bad_label", f"{error.message} {error.hint}")


def _check_path(name: str, inside: str | None, base: Path, seen: set[str]) -> Reason | None:
    """Why a row may not have this path, or None where it may."""
    if not name:
        return "no_path", "The path is empty."
    if inside is None:
        return (
            "outside_root",
            f"The path leaves {base}. Allowed: paths inside it.",
        )
    if inside in seen:
        return "duplicate_row", "The path stands in an earlier row too; that one counts."
    return None


def _sidecar_root(path: Path) -> Path | None:
    content = _read_sidecar(path)
    root = content.get("root") if isinstance(content, dict) else None
    return Path(root) if isinstance(root, str) else None


def _read_sidecar(path: Path) -> Any:
    """What the sidecar says, None where there is none; raises DataError where it is damaged."""
    sidecar = path.with_suffix(".json")
    try:
        return json.loads(sidecar.read_bytes())
    except OSError:
        return None
    except ValueError as error:
        raise DataError(
            f"{sidecar} is damaged, which says where the images of {path.name} are: {describe_cause(error)}.",
            hint=f"Make the manifest again, or delete {sidecar.name} where the images are beside it.",
        ) from error
