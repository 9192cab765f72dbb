from dataclasses import replace

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.corrected import describe_corrections, former_labels
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable

COLUMNS = {"corrected_from": ("YOUNG", "", "", ""), "corrections": ("abc", "", "", "")}


def _table() -> PredictionTable:
    labels = np.asarray([2, 1, 2, 0])
    probs = 0.7 * np.eye(3)[[2, 1, 2, 1]] + 0.1
    return PredictionTable(tuple("abcd"), labels, ("ok",) * 4, probs, probs.max(axis=1), COLUMNS)


def test_an_evaluation_says_how_many_labels_were_corrected_and_what_they_change() -> None:
    result = evaluate_table(_table(), resamples=10)
    (note,) = [note for note in result.notes if "corrected" in note]
    assert note == (
        "1 label of 4 was corrected by a review (files: abc 1): accuracy is 0.7500, and 0.5000 on the labels "
        "before."
    )
    assert result.to_dict()["corrections"] == {"abc": 1}
    assert not {"corrected_from", "corrections"} & result.slices.keys()


def test_rows_that_are_not_scored_are_not_counted() -> None:
    table = replace(_table(), status=("missing", "ok", "ok", "ok"))
    assert list(describe_corrections(table)) == []
    assert evaluate_table(table, resamples=10).to_dict()["corrections"] == {}


def test_the_former_labels_are_read() -> None:
    assert former_labels(_table()).tolist() == [0, 1, 2, 0]
    wrong = replace(_table(), columns={"corrected_from": ("baby", "", "", "")})
    with pytest.raises(DataError, match="corrected_from of a holds 'baby'"):
        former_labels(wrong)
