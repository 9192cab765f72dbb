from dataclasses import replace

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.drift import AnswerHistogram
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.replay import create_histogram, replay_table
from threeages.inference.records import OK
from threeages.labels import UNKNOWN


def _table(wrong: np.ndarray, identities: tuple[str, ...] = ()) -> PredictionTable:
    """Answers with a confidence of 0.9 for the label, or for its neighbour where `wrong`."""
    n = len(wrong)
    labels = np.arange(n) % 3
    probs = np.full((n, 3), 0.05)
    probs[np.arange(n), np.where(wrong, (labels + 1) % 3, labels)] = 0.9
    columns = {"identity": identities} if identities else {}
    return PredictionTable(tuple(map(str, range(n))), labels, (OK,) * n, probs, probs.max(axis=1), columns)


def test_only_sure_answers_with_a_label_count() -> None:
    table = _table(np.arange(10) == 9)
    table = replace(
        table,
        labels=np.where(np.arange(10) == 0, UNKNOWN, table.labels),
        confidence=np.where(np.arange(10) == 1, 0.3, table.confidence),
        status=("ok", "ok", "corrupt", *("ok",) * 7),
    )
    found = replay_table(table, 0.1, 0.5)
    assert (found.risk.n, found.risk.risk) == (7, pytest.approx(1 / 7))
    assert (found.unlabelled, found.unsure, found.by_identity, found.drift) == (1, 1, False, None)


def test_an_identity_counts_once_with_its_mean_error() -> None:
    """A thousand wrong answers for one person are one error, not proof of a shift."""
    wrong = np.concatenate([np.ones(1000), np.zeros(50)]).astype(bool)
    names = ("p",) * 1000 + tuple(f"q{i}" for i in range(50))
    assert replay_table(_table(wrong), 0.1, 0.5).risk.alarm
    found = replay_table(_table(wrong, names), 0.1, 0.5)
    assert (found.risk.n, found.risk.risk, found.risk.alarm) == (51, pytest.approx(1 / 51), False)
    half = replay_table(_table(np.asarray([True, False, False]), ("b", "a", "b")), 0.1, 0.5)
    assert (half.risk.n, half.risk.risk) == (2, 0.25)


def test_the_alarm_comes_where_the_errors_begin() -> None:
    wrong = np.random.default_rng(0).random(900) < np.where(np.arange(900) < 500, 0.05, 0.5)
    found = replay_table(_table(wrong), 0.1, 0.5)
    assert found.risk.alarm_at is not None
    assert 500 < found.risk.alarm_at < 600


def test_drift_needs_no_label() -> None:
    rng = np.random.default_rng(0)
    reference = AnswerHistogram.from_probs(rng.dirichlet((2, 1, 1), 500))
    table = _table(np.zeros(400, dtype=bool))
    unlabelled = replace(table, labels=np.full(400, UNKNOWN), probs=rng.dirichlet((1, 1, 3), 400))
    found = replay_table(unlabelled, 0.1, 0.5, reference=reference)
    assert (found.risk.n, found.unlabelled) == (0, 400)
    assert found.drift is not None
    assert found.drift.alarm


def test_the_histogram_has_one_answer_of_each_identity() -> None:
    table = _table(np.zeros(6, dtype=bool), ("a", "a", "b", "", "", "b"))
    assert sum(create_histogram(table).confidence) == 4  # rows without a name are identities of their own
    with pytest.raises(DataError, match="no answer"):
        create_histogram(replace(table, status=("corrupt",) * 6))


def test_a_table_that_no_monitor_can_use_is_refused() -> None:
    table = _table(np.zeros(6, dtype=bool))
    with pytest.raises(
        DataError, match=r"None of 6 rows with a label and an answer .* 0.95 or more: the largest"
    ):
        replay_table(table, 0.1, 0.95)
    unlabelled = replace(table, labels=np.full(6, -1))
    with pytest.raises(DataError, match="None of 6 rows has a label: the column label is there, but empty"):
        replay_table(unlabelled, 0.1, 0.5)
    unanswered = replace(table, status=("no_face",) * 6)
    with pytest.raises(DataError, match="None of 6 rows has an answer: prob_young"):
        replay_table(unanswered, 0.1, 0.5)
    apart = replace(table, status=("ok",) * 3 + ("no_face",) * 3, labels=np.asarray([-1] * 3 + [0] * 3))
    with pytest.raises(DataError, match="3 have a label and 3 an answer, but none has both"):
        replay_table(apart, 0.1, 0.5)
