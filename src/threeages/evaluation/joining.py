"""Predictions of several runs as one table, such as the folds of a split; refuses what must not be joined."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from threeages.errors import DataError, format_count
from threeages.evaluation.predictions import (
    PredictionTable,
    join_predictions,
    load_predictions,
)

Part = tuple[str, PredictionTable]  # what it is called, and its rows
HELD_OUT = {"identity": "an identity-disjoint one", "source": "one with sources held out"}


def join_runs(paths: Sequence[Path]) -> PredictionTable:
    """The rows of run folders, report folders or predictions csv; raises as `check_parts`."""
    parts = [(str(path), load_predictions(path)) for path in paths]
    check_parts(parts)
    return join_predictions([table for _, table in parts])


def check_parts(parts: Sequence[Part]) -> None:
    """Raise DataError where two of the tables are the same answers, or of splits that no figure can join."""
    for first, second in combinations(parts, 2):
        _check_splits(first, second)
        _check_same(first, second)


def _check_splits(first: Part, second: Part) -> None:
    random, held = sorted((first, second), key=lambda part: part[1].provenance.split != "random")
    other = held[1].provenance.split
    if random[1].provenance.split == "random" and other in HELD_OUT:
        raise DataError(
            f"{random[0]} is of a random split and {held[0]} of {HELD_OUT[other]}: one figure for both would "
            "say nothing of new people.",
            hint="Give each by itself. For the gap between both run: threeages evaluate RANDOM --disjoint "
            "IDENTITY --out FOLDER.",
        )


def _check_same(first: Part, second: Part) -> None:
    few, many = sorted((first, second), key=lambda part: len(part[1]))
    answers = {path: row for row, path in enumerate(many[1].paths)}
    rows = np.flatnonzero(np.isfinite(few[1].probs).all(axis=1))
    places = np.asarray([answers.get(few[1].paths[row], -1) for row in rows], dtype=np.int64)
    if not len(rows) or (places < 0).any() or not np.array_equal(few[1].probs[rows], many[1].probs[places]):
        return
    raise DataError(
        f"{first[0]} and {second[0]} hold the same answers to {format_count(len(rows), 'image')}: each would "
        "count twice.",
        hint="Give each predictions file once, and no report beside the runs that it is of.",
    )
