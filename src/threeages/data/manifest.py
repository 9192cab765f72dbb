"""One row per image: path, label and whatever else is known of it; csv or parquet in and out."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, MissingDependencyError, ThreeAgesError
from threeages.files import atomic_path
from threeages.labels import AGE_GROUPS, UNKNOWN, label_index

IDENTITY = "identity"  # images that must stay together: a person


@dataclass(frozen=True)
class RowFault:
    """A row that cannot be used: its line in the file (header is 1), a status and what is wrong."""

    line: int
    path: str
    status: str  # `outside_root`, `bad_label`, `duplicate_row` or `no_path`
    message: str


@dataclass(frozen=True)
class Manifest:
    """Images of one root folder, in a fixed order.

    `labels` is int64 `(n,)`, UNKNOWN (-1) where there is none. `columns` holds every other column as text,
    '' where unknown; `identity` among them names the images that must stay together.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.labels) == len(self)
        assert all(len(c) == len(self) for c in self.columns.values())

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> list[Path]:
        """Full path of every image."""
        return [self.root / path for path in self.paths]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Manifest":
        """The given rows, in the given order."""
        columns = {k: tuple(v[i] for i in rows) for k, v in self.columns.items()}
        labels = self.labels[np.asarray(rows, dtype=np.int64)]
        return Manifest(self.root, tuple(self.paths[i] for i in rows), labels, columns)

    def identities(self) -> NDArray[np.str_] | None:
        """`identity` of every row as text, or None where the column is absent or wholly empty."""
        values = self.columns.get(IDENTITY)
        return np.asarray(values) if values and any(values) else None


def find_rows(
    columns: Mapping[str, Sequence[str]], column: str, value: str, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Those of the rows that have a value in a column; raises DataError where none has."""
    cells = [columns[column][row] for row in rows] if column in columns else []
    found = [i for i, cell in enumerate(cells) if cell == value]
    if not found:
        known = ", ".join(sorted(set(cells))[:10]) or f"the columns {', '.join(columns) or '(none)'}"
        raise DataError(f"No row has {column}={value}.", hint=f"There are {known}.")
    return rows[found]


def read_manifest(
    path: Path, *, root: Path | None = None, need_label: bool = True
) -> tuple[Manifest, list[RowFault]]:
    """Rows of a csv or `.parquet` with the columns `path` and `label`, and the faults of the rows left out.

    Paths are relative to `root`; that is the folder named in the sidecar `<name>.json` that
    `save_manifest` writes, else the file's own folder. A missing file or column raises DataError.
    """
    rows, names = _read_rows(path, need_label)
    base = (root or _sidecar_root(path) or path.parent).resolve()
    faults: list[RowFault] = []
    kept: list[dict[str, str]] = []
    labels: list[int] = []
    seen: set[str] = set()
    for line, row in rows:
        name = (row["path"] or "").strip()
        try:
            label = label_index(row["label"]) if (row.get("label") or "").strip() or need_label else UNKNOWN
        except ThreeAgesError as error:
            faults.append(RowFault(line, name, "bad_label", f"{error.message} {error.hint}"))
            continue
        fault = _path_fault(name, base, seen)
        if fault:
            faults.append(RowFault(line, name, *fault))
            continue
        seen.add(name)
        kept.append(row | {"path": name})
        labels.append(label)
    extra = {k: tuple((r[k] or "").strip() for r in kept) for k in names if k not in {"path", "label"}}
    array = np.asarray(labels, dtype=np.int64)
    return Manifest(base, tuple(r["path"] for r in kept), array, extra), faults


def load_manifest(path: Path, *, root: Path | None = None, need_label: bool = True) -> Manifest:
    """As `read_manifest`, but any faulty row raises DataError, which names the first five."""
    manifest, faults = read_manifest(path, root=root, need_label=need_label)
    if faults:
        lines = "\n".join(f"  line {f.line}: {f.path!r}: {f.status}: {f.message}" for f in faults[:5])
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise DataError(
            f"{path} has {len(faults)} rows that cannot be used:\n{lines}{more}", hint="Mend them."
        )
    if not len(manifest):
        raise DataError(f"{path} has no rows.", hint="It needs at least one row: path,label.")
    return manifest


def save_manifest(manifest: Manifest, path: Path, *, provenance: dict[str, Any] | None = None) -> None:
    """Write a csv or `.parquet` and a sidecar `<name>.json` with the root and where the rows came from."""
    labels = [AGE_GROUPS[label] if label != UNKNOWN else "" for label in manifest.labels]
    columns = {"path": manifest.paths, "label": labels, **manifest.columns}
    with atomic_path(path) as part:
        if _is_parquet(path):
            arrow, parquet = _import_arrow()
            parquet.write_table(arrow.table(columns), part)
        else:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
    sidecar = {"root": str(manifest.root), "rows": len(manifest), **(provenance or {})}
    with atomic_path(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def _read_rows(path: Path, need_label: bool) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Rows with the line each ends on, and the columns; raises DataError where one is missing."""
    rows, names = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    missing = [n for n in (("path", "label") if need_label else ("path",)) if n not in names]
    if missing:
        raise DataError(
            f"{path} has no column {' or '.join(missing)}; its columns are {', '.join(names) or 'none'}.",
            hint="A manifest has the columns path,label and optionally identity, age and others.",
        )
    return rows, names


def _read_csv(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """The lines are the reader's, as empty lines are skipped and cells may hold several."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey=None, restval="")
            rows = [(reader.line_num, row) for row in reader]
            return rows, [n for n in reader.fieldnames or [] if n]
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror}.", hint="Check the path and its rights."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a csv in UTF-8: {error}.", hint="Save it as 'CSV UTF-8'.") from error


def _read_parquet(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """As `_read_csv`: values as text, '' for null, and row i counted as line i + 2."""
    arrow, parquet = _import_arrow()
    try:
        table = parquet.read_table(path)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error}.", hint="Check the path and its rights.") from error
    except arrow.ArrowException as error:
        raise DataError(f"{path} is not a parquet file: {error}.", hint="Write it again.") from error
    found = ({k: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist())
    return list(enumerate(found, start=2)), table.column_names


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _import_arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyarrow", "parquet") from error
    return pyarrow, parquet


def _path_fault(name: str, base: Path, seen: set[str]) -> tuple[str, str] | None:
    if not name:
        return "no_path", "The path is empty."
    if not _is_inside(name, base):
        return (
            "outside_root",
            f"The path leaves {base}. Allowed: paths inside it; --root names another folder.",
        )
    if name in seen:
        return "duplicate_row", "The path stands in an earlier row too; that one counts."
    return None


def _is_inside(name: str, base: Path) -> bool:
    try:
        return (base / name).resolve().is_relative_to(base)
    except (OSError, ValueError, RuntimeError):  # a null character, a name too long, a loop of links
        return False


def _sidecar_root(path: Path) -> Path | None:
    sidecar = path.with_suffix(".json")
    try:
        root = json.loads(sidecar.read_text(encoding="utf-8"))["root"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(root) if isinstance(root, str) else None
