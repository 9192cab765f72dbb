"""Labels that a review corrected: how many, by which file, and what they do to the accuracy."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from threeages.data.correcting import CORRECTED_FROM, count_corrections
from threeages.errors import DataError, format_count
from threeages.evaluation.predictions import PredictionTable
from threeages.labels import label_index


def describe_corrections(table: PredictionTable) -> Iterator[str]:
    """A sentence where labels of scored rows were corrected: their number, files, and both accuracies."""
    rows = np.flatnonzero(table.scored())
    files = count_corrections(table.columns, rows.tolist())
    if not files:
        return
    answers = table.probs[rows].argmax(axis=1)
    now, before = (
        float((answers == labels).mean()) for labels in (table.labels[rows], former_labels(table)[rows])
    )
    named = ", ".join(f"{name} {count:,}" for name, count in files.items())
    verb = "was" if sum(files.values()) == 1 else "were"
    yield (
        f"{format_count(sum(files.values()), 'label')} of {len(rows):,} {verb} corrected by a review (files: "
        f"{named}): accuracy is {now:.4f}, and {before:.4f} on the labels before."
    )


def former_labels(table: PredictionTable) -> NDArray[np.int64]:
    """The labels `(n,)` as they were before any correction."""
    labels = table.labels.copy()
    for row, cell in enumerate(table.columns.get(CORRECTED_FROM, ())):
        if cell:
            labels[row] = _read(cell, table.paths[row])
    return labels


def _read(cell: str, path: str) -> int:
    try:
        return label_index(cell)
    except DataError as error:
        raise DataError(
            f"The column {CORRECTED_FROM} of {path} holds '{cell[:40]}'.", hint=error.hint
        ) from error
