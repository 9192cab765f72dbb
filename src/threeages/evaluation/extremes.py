"""The rows of predictions that are worth a look: the surest hits, the surest mistakes, the least sure."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from threeages.data.split import Rows
from threeages.errors import DataError, format_count
from threeages.evaluation.predictions import PredictionTable

HITS, MISTAKES, UNSURE = "surest hits", "surest mistakes", "least sure"


def find_extremes(table: PredictionTable, count: int, *, per_identity: int = 1) -> dict[str, Rows]:
    """Row indices by kind, at most `count` each: HITS and MISTAKES by falling confidence, UNSURE by rising.

    At most `per_identity` rows of one identity are in a kind, 0 allows any number; a row without an identity
    is one of its own. Raises DataError where no row has both a label and an answer.
    """
    rows = np.flatnonzero(table.scored())
    if not len(rows):
        raise DataError(
            f"None of {format_count(len(table), 'prediction')} has both a label and an answer.",
            hint="Give predictions on labelled images.",
        )
    correct = table.probs[rows].argmax(axis=1) == table.labels[rows]
    rising = np.argsort(table.confidence[rows], kind="stable")
    orders = {
        HITS: [i for i in rising[::-1] if correct[i]],
        MISTAKES: [i for i in rising[::-1] if not correct[i]],
        UNSURE: list(rising),
    }
    identities = table.identities()
    names = [""] * len(table) if identities is None else identities.tolist()
    return {
        kind: np.asarray(list(_take((int(rows[i]) for i in order), names, count, per_identity)), np.int64)
        for kind, order in orders.items()
    }


def _take(rows: Iterable[int], identities: list[str], count: int, per_identity: int) -> Iterator[int]:
    """The first `count` rows, without those of an identity that has its number already."""
    seen: Counter[str] = Counter()
    taken = 0
    for row in rows:
        name = identities[row]
        if taken == count:
            return
        if name and per_identity and seen[name] >= per_identity:
            continue
        seen[name] += 1
        taken += 1
        yield row
