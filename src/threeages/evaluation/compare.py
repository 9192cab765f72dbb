"""Runs side by side on the rows that all of them answered, with paired intervals of their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from threeages.errors import DataError
from threeages.evaluation import metrics
from threeages.evaluation.predictions import PredictionTable, load_predictions

FIGURES = ("accuracy", "balanced_accuracy", "f1_macro")
Difference = tuple[float, float, float]


@dataclass(frozen=True)
class Comparison:
    """One run: its figures, and (difference, low, high) of each from the first run's."""

    name: str
    n: int
    figures: dict[str, float]
    differences: dict[str, Difference]


def load_run(path: Path) -> PredictionTable:
    """The predictions of a run folder, or of a csv; raises DataError where there are none."""
    return load_predictions(path / "predictions.csv" if path.is_dir() else path)


def compare_tables(tables: Sequence[tuple[str, PredictionTable]]) -> list[Comparison]:
    """Judge every table on the paths with a label that all of them answered; the first is the baseline.

    The differences' 95% intervals resample people where the first table knows them, else images. Raises
    DataError where the tables share no such path.
    """
    rows = [_answered(table) for _, table in tables]
    shared = [path for path in rows[0] if all(path in other for other in rows[1:])]
    if not shared:
        raise DataError(
            f"{', '.join(name for name, _ in tables)} have no judged image in common.",
            hint="Compare runs of one split and fold; join folds with: threeages judge.",
        )
    base = tables[0][1]
    picked = [np.asarray([found[path] for path in shared]) for found in rows]
    labels, first = base.labels[picked[0]], base.probs[picked[0]]
    known = base.identities()
    identities = None if known is None else known[picked[0]]
    return [
        Comparison(
            name,
            len(shared),
            metrics.summarize(labels, table.probs[at]),
            metrics.paired_differences(labels, first, table.probs[at], identities),
        )
        for (name, table), at in zip(tables, picked, strict=True)
    ]


def _answered(table: PredictionTable) -> dict[str, int]:
    """Row of every path that has an answer and a label."""
    rows = np.flatnonzero(table.scored()).tolist()
    return {table.paths[i]: i for i in rows}
