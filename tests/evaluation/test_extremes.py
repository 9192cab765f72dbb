import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.extremes import HITS, MISTAKES, UNSURE, find_extremes
from threeages.evaluation.predictions import PredictionTable


def _create(
    confidences: list[float], labels: list[int], identities: list[str] | None = None
) -> PredictionTable:
    """Answers YOUNG with the given confidences; a confidence of 0 is no answer."""
    top = np.asarray(confidences)
    probs = np.stack([top, (1 - top) / 2, (1 - top) / 2], axis=1)
    answered = top > 0
    probs[~answered] = np.nan
    return PredictionTable(
        tuple(f"{i}.jpg" for i in range(len(top))),
        np.asarray(labels, dtype=np.int64),
        tuple("ok" if ok else "missing" for ok in answered),
        probs,
        np.where(answered, top, np.nan),
        {"identity": tuple(identities)} if identities else {},
    )


def test_the_surest_and_the_least_sure_come_first() -> None:
    table = _create([0.9, 0.5, 0.8, 0.99, 0.6, 0, 0.95], [0, 0, 1, 0, 2, 0, -1])
    found = find_extremes(table, 2)
    assert {kind: rows.tolist() for kind, rows in found.items()} == {
        HITS: [3, 0],
        MISTAKES: [2, 4],
        UNSURE: [1, 4],
    }


def test_an_identity_appears_so_often_and_no_name_is_one_of_its_own() -> None:
    table = _create([0.9, 0.8, 0.7, 0.6, 0.5], [0] * 5, ["a", "a", "", "", "a"])
    assert find_extremes(table, 9)[HITS].tolist() == [0, 2, 3]
    assert find_extremes(table, 9, per_identity=2)[HITS].tolist() == [0, 1, 2, 3]
    assert find_extremes(table, 9, per_identity=0)[HITS].tolist() == [0, 1, 2, 3, 4]


def test_without_labels_there_is_no_sheet() -> None:
    with pytest.raises(DataError, match="None of 2 predictions"):
        find_extremes(_create([0.9, 0.8], [-1, -1]), 3)
