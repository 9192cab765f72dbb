"""Predictions on disk: the csv between any model, also a peer's, and the evaluation."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.ages import parse_years
from threeages.data.columns import AGE, AGE_HIGH, AGE_LOW, LABEL_NAMES, PATH_NAMES, pick_column
from threeages.data.manifest import IDENTITY, find_rows, name_identity, rename_columns
from threeages.errors import DataError
from threeages.evaluation.provenance import (
    Provenance,
    find_provenance,
    is_run,
    join_provenance,
    read_provenance,
)
from threeages.files.csvfiles import CsvTable, read_csv
from threeages.files.writing import write_text
from threeages.inference.records import ABSTAINED, OK
from threeages.labels import AGE_GROUPS, UNKNOWN, label_index

PREDICTIONS = "predictions.csv"  # in the folder of a run or a report
NO_ANSWER = "no_answer"  # status of a row that has no probabilities in a file without a status column
ANSWERED = frozenset({OK, NO_ANSWER, *ABSTAINED})  # statuses of an image that could be read
PROB_COLUMNS = tuple(f"prob_{name.lower()}" for name in AGE_GROUPS)
OWN_COLUMNS = ("path", "label", "status", "age_group", *PROB_COLUMNS, "confidence")
AGE_COLUMNS = {  # column and the field of a record that it holds
    "predicted_age": "age",
    "predicted_low": "age_low",
    "predicted_high": "age_high",
}
REJECTION_REASON = "rejection_reason"  # column: why the predictor would give no answer
SUM_TOLERANCE = 0.02  # three probabilities rounded to two decimals miss 1 by at most 0.015


@dataclass(frozen=True)
class PredictionTable:
    """One row per image, in the manifest's order.

    `labels` is int64 `(n,)`, UNKNOWN (-1) where there is none; `probs` float64 `(n, 3)` and `confidence`
    float64 `(n,)` are NaN where `status` is not 'ok'. `columns` holds the manifest's other columns,
    `provenance` the split that the rows were held out by, where it is known.
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    status: tuple[str, ...]
    probs: NDArray[np.float64]
    confidence: NDArray[np.float64]
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        n = len(self)
        assert len(self.labels) == len(self.status) == len(self.confidence) == n
        assert self.probs.shape == (n, len(AGE_GROUPS))
        assert all(len(c) == n for c in self.columns.values())

    def __len__(self) -> int:
        return len(self.paths)

    def scored(self) -> NDArray[np.bool_]:
        """Mask bool `(n,)` of the rows with an answer and a known label; metrics are computed on these."""
        answered = np.asarray([status == OK for status in self.status], dtype=np.bool_)
        known: NDArray[np.bool_] = answered & (self.labels != UNKNOWN)
        return known

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64 `(n,)`; NaN where a cell is no number or the column is absent."""
        return np.asarray([_number(v) for v in self.columns.get(name, ("",) * len(self))], dtype=np.float64)

    def ages(self) -> NDArray[np.float64]:
        """Age in years float64 `(n,)`; NaN where it is not known, not possible, or a range of ages alone."""
        found = (parse_years(cell) for cell in self.columns.get(AGE, ("",) * len(self)))
        years = np.asarray([math.nan if age is None else age for age in found], dtype=np.float64)
        ranges = np.isfinite([self.numbers(name) for name in (AGE_LOW, AGE_HIGH)]).any(axis=0)
        return np.where(ranges, np.nan, years)

    def where(self, column: str, value: str) -> "PredictionTable":
        """The rows with a value in a column; DataError where no row has it."""
        return self.take(find_rows(self.columns, column, value, np.arange(len(self))))

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "PredictionTable":
        """The rows of these indices, in their order."""
        return PredictionTable(
            tuple(self.paths[i] for i in rows),
            self.labels[rows],
            tuple(self.status[i] for i in rows),
            self.probs[rows],
            self.confidence[rows],
            {name: tuple(cells[i] for i in rows) for name, cells in self.columns.items()},
            self.provenance,
        )

    def identities(self) -> NDArray[np.str_] | None:
        """`identity` of every row, or None where the column is absent or wholly empty."""
        values = self.columns.get(IDENTITY)
        return np.asarray(values) if values and any(values) else None


def join_predictions(tables: Sequence[PredictionTable]) -> PredictionTable:
    """The rows of several tables, such as folds; a column that one of them lacks is empty there."""
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {n: tuple(v for t in tables for v in t.columns.get(n, ("",) * len(t))) for n in names}
    return PredictionTable(
        tuple(path for table in tables for path in table.paths),
        np.concatenate([table.labels for table in tables]),
        tuple(status for table in tables for status in table.status),
        np.concatenate([table.probs for table in tables]),
        np.concatenate([table.confidence for table in tables]),
        columns,
        join_provenance(table.provenance for table in tables),
    )


def save_predictions(table: PredictionTable, path: Path) -> None:
    """Write the table as csv, without further columns that are named like one of OWN_COLUMNS.

    Raises DataError where the file cannot be written.
    """
    extra = {k: v for k, v in table.columns.items() if k not in OWN_COLUMNS}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*OWN_COLUMNS, *extra])
    for i in range(len(table)):
        writer.writerow([*_own_cells(table, i), *(v[i] for v in extra.values())])
    write_text(path, text.getvalue())


def load_predictions(path: Path) -> PredictionTable:
    """Read a csv with the columns path, label, prob_young, prob_middle and prob_old; the rest is optional.

    A folder of a run or a report is read by the csv in it. Without a column `status` a row is 'ok' where it
    has probabilities, else 'no_answer'. A config.json beside the file, or a report's metrics.json, says which
    split the rows were held out by and which model answered. DataError, which names the line, on a path given
    twice, an unknown label, or values that are no probabilities; and where a folder has no predictions.
    """
    path = choose_predictions(path)
    return parse_predictions(path, _read_table(path))


def parse_predictions(path: Path, table: CsvTable) -> PredictionTable:
    """The predictions in a csv whose columns are named as in OWN_COLUMNS; raises as `load_predictions`."""
    rows = table.rows
    seen: dict[str, int] = {}
    labels, status, probs = [], [], []
    for line, row in zip(table.lines, rows, strict=True):
        try:
            if seen.setdefault(row["path"], line) != line:
                raise DataError(f"{row['path']!r} is in line {seen[row['path']]} too.", hint="Keep one.")
            labels.append(label_index(row["label"]) if row["label"] else UNKNOWN)
            status.append(_status(row))
            _check_years(row)
            probs.append(_probs(row) if status[-1] == OK else (np.nan,) * len(AGE_GROUPS))
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error.message}", hint=error.hint) from error
    array = np.asarray(probs, dtype=np.float64).reshape(-1, len(AGE_GROUPS))
    columns = {k: tuple(row[k] for row in rows) for k in table.columns if k not in OWN_COLUMNS}
    return PredictionTable(
        tuple(row["path"] for row in rows),
        np.asarray(labels, dtype=np.int64),
        tuple(status),
        array,
        array.max(axis=1),
        name_identity(columns),
        _find_provenance(path),
    )


def choose_predictions(path: Path) -> Path:
    """As `find_predictions`; raises DataError for any other folder."""
    found = find_predictions(path)
    if found.is_dir():
        raise DataError(
            f"{path} holds no {PREDICTIONS}.",
            hint="Give the folder of a run or of an evaluation, or a csv of predictions. Predictions of "
            "images are made by: threeages evaluate MANIFEST --out FOLDER",
        )
    return found


def find_predictions(path: Path) -> Path:
    """The predictions csv of a run's or a report's folder; any other path as it is.

    Raises DataError where a run has none.
    """
    inside = path / PREDICTIONS
    if not inside.is_file() and is_run(path):
        raise DataError(
            f"{path} holds a run without {PREDICTIONS}.",
            hint="Start the threeages train command of that run again: it writes it. One that trained on "
            "every row has none.",
        )
    return inside if inside.is_file() else path


def is_predictions(path: Path) -> bool:
    """Whether a file is a csv with columns of probabilities, unlike a manifest; DataError if unreadable."""
    if path.suffix.lower() == ".parquet":  # only manifests are written so
        return False
    return not path.is_dir() and any(pick_column(read_csv(path).columns, (n,)) for n in PROB_COLUMNS)


def _find_provenance(path: Path) -> Provenance:
    """What the folder of a csv says of it; the csv that a run wrote itself is of that run."""
    folder = path.parent
    if path.name != PREDICTIONS:
        return read_provenance(folder)
    return replace(find_provenance(folder), model=str(folder)) if is_run(folder) else find_provenance(folder)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _own_cells(table: PredictionTable, i: int) -> Sequence[str]:
    label = "" if table.labels[i] == UNKNOWN else AGE_GROUPS[table.labels[i]]
    if table.status[i] != OK:
        return [table.paths[i], label, table.status[i], *[""] * (len(AGE_GROUPS) + 2)]
    answer = AGE_GROUPS[int(table.probs[i].argmax())]
    numbers = [str(v) for v in (*table.probs[i], table.confidence[i])]
    return [table.paths[i], label, OK, answer, *numbers]


def _read_table(path: Path) -> CsvTable:
    """The table in the file, its own columns named as in OWN_COLUMNS; DataError where one is missing."""
    table = read_csv(path)
    usual = dict.fromkeys(OWN_COLUMNS) | {"path": PATH_NAMES, "label": LABEL_NAMES}
    found = {pick_column(table.columns, names or (own,)): own for own, names in usual.items()}
    given = ", ".join(table.columns) or "none"  # as the file has them
    table = rename_columns(table, {old: own for old, own in found.items() if old is not None})
    missing = [n for n in ("path", "label", *PROB_COLUMNS) if n not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its columns are {given}.",
            hint=f"The columns path, label, {', '.join(PROB_COLUMNS)} are needed; others are optional."
            + (f" The label may be called {', '.join(LABEL_NAMES[1:])}." if "label" in missing else ""),
        )
    return table


def _status(row: dict[str, str]) -> str:
    return row.get("status", "") or (OK if any(row[n] for n in PROB_COLUMNS) else NO_ANSWER)


def _check_years(row: dict[str, str]) -> None:
    """Raise DataError where the predicted ages of a row are no numbers, or its interval is reversed.

    The age itself may lie outside: a point and an interval may come from different models.
    """
    cells = {name: row[name] for name in AGE_COLUMNS if row.get(name)}
    values = {name: _number(cell) for name, cell in cells.items()}
    wrong = [name for name, value in values.items() if not 0 <= value < math.inf]
    low, high = (values.get(name, math.nan) for name in list(AGE_COLUMNS)[1:])
    if wrong or low > high:
        given = ", ".join(f"{name} {cell!r}" for name, cell in cells.items())
        raise DataError(
            f"The predicted ages are {given}.",
            hint="Give years from 0 up, and a low end that is not above the high one, or no ages.",
        )


def _probs(row: dict[str, str]) -> tuple[float, ...]:
    text = [row[n] for n in PROB_COLUMNS]
    try:
        values = tuple(float(t.replace(",", ".")) for t in text)
    except ValueError:
        values = ()
    if not values or not all(0 <= v <= 1 for v in values) or abs(sum(values) - 1) > SUM_TOLERANCE:
        raise DataError(
            f"The probabilities are {', '.join(repr(t) for t in text)}.",
            hint=f"Give three numbers from 0 to 1 that add up to 1 (within {SUM_TOLERANCE}).",
        )
    return values
