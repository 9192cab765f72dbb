"""Runs side by side on the rows they share, with paired intervals of the differences of their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from threeages.errors import DataError, format_count
from threeages.evaluation import metrics
from threeages.evaluation.answers import load_answers
from threeages.evaluation.predictions import PredictionTable, choose_predictions
from threeages.labels import UNKNOWN

METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
Difference = tuple[float, float, float]


@dataclass(frozen=True)
class Comparison:
    """One run: its metrics, and (difference, low, high) of each from the first run's."""

    name: str
    n: int
    metrics: dict[str, float]
    differences: dict[str, Difference]


def load_run(path: Path) -> PredictionTable:
    """The predictions of a run folder, or any program's answers in a csv; DataError where there are none."""
    return load_answers(choose_predictions(path))


def compare_tables(tables: Sequence[tuple[str, PredictionTable]]) -> list[Comparison]:
    """Score every table on the labelled paths that all of them answered; the first is the baseline.

    A table without any label, as a peer's, takes those of the first. The 95 % intervals of the differences
    resample identities where the first table knows them, else images. DataError where the first has no label,
    or the tables share no such path.
    """
    tables = [(name, _with_labels(tables[0][1], table)) for name, table in tables]
    if not (tables[0][1].labels != UNKNOWN).any():
        raise DataError(
            f"{tables[0][0]} holds no label.",
            hint="The first of the runs needs a column label with the true age groups.",
        )
    rows = [_scored_rows(table) for _, table in tables]
    shared = [path for path in rows[0] if all(path in other for other in rows[1:])]
    if not shared:
        raise DataError(
            f"{', '.join(name for name, _ in tables)} have no scored image in common.",
            hint="Compare answers to the same images, named by the same paths; of runs one split and fold.",
        )
    base = tables[0][1]
    picked = [np.asarray([found[path] for path in shared]) for found in rows]
    labels, first = base.labels[picked[0]], base.probs[picked[0]]
    for (name, table), at in zip(tables[1:], picked[1:], strict=True):
        if differing := np.flatnonzero(table.labels[at] != labels).tolist():
            raise DataError(
                f"{name} has another label than {tables[0][0]} for {format_count(differing, 'image')}, first "
                f"{shared[differing[0]]}.",
                hint="Compare predictions on one manifest.",
            )
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


def _with_labels(base: PredictionTable, table: PredictionTable) -> PredictionTable:
    """The table with the labels of the base by path, where it has none at all."""
    if (table.labels != UNKNOWN).any():
        return table
    known = dict(zip(base.paths, base.labels.tolist(), strict=True))
    return replace(table, labels=np.asarray([known.get(path, UNKNOWN) for path in table.paths], np.int64))


def _scored_rows(table: PredictionTable) -> dict[str, int]:
    """Row of every path with an answer and a known label."""
    rows = np.flatnonzero(table.scored()).tolist()
    return {table.paths[i]: i for i in rows}
