"""What a peer answers to files, by the one interface of adapter.py; and the same years cut elsewhere."""

import csv
import itertools
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError
from threeages.evaluation.answers import YEARS, load_answers
from threeages.evaluation.predictions import AGE_COLUMNS, PredictionTable
from threeages.inference.records import OK
from threeages.labels import AgeBounds

BOUNDS = (int(AgeBounds().middle), int(AgeBounds().old))
FOUND = "found"  # column: whether the peer's own detector found a face
Years = NDArray[np.float64]


def predict_peer(command: list[str], files: list[Path]) -> PredictionTable:
    """The peer's answers to the files, in their order; its years in the column `predicted_age`.

    Raises DataError where it leaves one without an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed, answers = Path(folder) / "list.csv", Path(folder) / "answers.csv"
        with listed.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["path"], *([str(f)] for f in files)])
        subprocess.run([*command, listed, answers], check=True)
        table = load_answers(answers)
    places = {path: row for row, path in enumerate(table.paths) if table.status[row] == OK}
    if missing := [str(file) for file in files if str(file) not in places]:
        raise DataError(
            f"{command[0]} left {len(missing):,} of {len(files):,} files without an answer, first "
            f"{missing[0]}.",
            hint="An image without a face is taken whole; see benchmarks/peers/adapter.py.",
        )
    return table.take([places[str(file)] for file in files])


def answer_rows(rows: PredictionTable, answers: PredictionTable) -> PredictionTable:
    """The rows with a peer's answers to them, in the same order, in place of what others answered."""
    kept = {name: cells for name, cells in rows.columns.items() if name not in AGE_COLUMNS}
    given = {name: answers.columns[name] for name in (YEARS, FOUND) if name in answers.columns}
    return replace(
        rows, probs=answers.probs, confidence=answers.confidence, status=answers.status,
        columns=kept | given,
    )  # fmt: skip


def has_years(table: PredictionTable) -> bool:
    """Whether all answers are years, so that other bounds can be tried."""
    return bool(np.isfinite(table.numbers(YEARS)).all())


def has_probs(table: PredictionTable) -> bool:
    """Whether the answers are probabilities, not one group each."""
    return not np.isin(table.probs, (0, 1)).all()


def share_found(table: PredictionTable) -> float | None:
    """The share of images in which the peer's own detector found a face; None where it has no detector."""
    cells = table.columns.get(FOUND, ())
    return float(np.mean([cell == str(True) for cell in cells])) if any(cells) else None


def best_bounds(labels: NDArray[np.int64], years: Years, weights: NDArray[np.float64]) -> tuple[int, int]:
    """The two years between the groups whose right answers weigh most on these rows."""
    pairs = itertools.combinations(range(15, 76), 2)
    return max(pairs, key=lambda bounds: float(weights[np.digitize(years, bounds) == labels].sum()))


def cut_years(table: PredictionTable, bounds: tuple[int, int]) -> PredictionTable:
    """The answers in years cut at other bounds: all probability on the group that they fall into."""
    probs = np.eye(3)[np.digitize(table.numbers(YEARS), bounds)]
    return replace(table, probs=probs, confidence=probs.max(axis=1))
