import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation import evaluate, run_gap
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.run_gap import measure_split_gap


def _table(split: str, right: float, seed: int) -> PredictionTable:
    rng = np.random.default_rng(seed)
    n = 120
    labels = np.arange(n) % 3
    answers = np.where(rng.random(n) < right, labels, (labels + 1) % 3)
    probs = 0.1 + 0.7 * np.eye(3)[answers]
    columns = {"identity": tuple(f"p{i // 4}" for i in range(n)), "pose": ("a", "b") * (n // 2)}
    paths = tuple(map(str, range(n)))
    return PredictionTable(paths, labels, ("ok",) * n, probs, probs.max(1), columns, Provenance(split))


def test_the_gap_is_that_of_both_evaluations_without_their_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    random, disjoint = _table("random", 0.9, 0), _table("identity", 0.5, 1)
    expected = evaluate_table(random), evaluate_table(disjoint)
    monkeypatch.setattr(evaluate, "audit_slices", None)  # slices take most of the time of an evaluation
    assert not hasattr(run_gap, "evaluate_table")
    gap = measure_split_gap(random, disjoint).provenance.gap
    assert gap is not None
    assert (gap.random, gap.disjoint) == tuple(one.metrics["accuracy"] for one in expected)
    low, high = (one.intervals["accuracy"] for one in expected)
    assert gap.low == pytest.approx(gap.difference - np.hypot(gap.random - low[0], high[1] - gap.disjoint))


def test_a_side_without_a_scored_row_is_refused() -> None:
    empty = _table("identity", 0.5, 1)
    empty.labels[:] = -1
    with pytest.raises(DataError, match="None of 120 predictions can be scored"):
        measure_split_gap(_table("random", 0.9, 0), empty)
