from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from threeages.cli.main import app
from threeages.errors import DataError
from threeages.evaluation.compare import compare_tables, load_run
from threeages.evaluation.metrics import accuracy, paired_differences
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.inference.records import OK

N = 240


def _table(right: float, seed: int) -> PredictionTable:
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 3
    answers = np.where(np.random.default_rng(0).random(N) < right, labels, (labels + 1) % 3)
    probs = np.full((N, 3), 0.1)
    probs[np.arange(N), answers] = 0.8
    probs = probs * (1 + 0.01 * rng.random((N, 1)))
    probs /= probs.sum(1, keepdims=True)
    people = tuple(f"p{i % 12}" for i in range(N))
    paths = tuple(f"{i}.jpg" for i in range(N))
    return PredictionTable(paths, labels, (OK,) * N, probs, probs.max(1), {"identity": people})


def test_a_run_differs_from_itself_by_nothing() -> None:
    table = _table(0.7, 1)
    first, second = compare_tables([("a", table), ("b", table)])
    assert first.figures == second.figures
    assert set(second.differences["accuracy"]) == {0.0}


def test_differences_are_those_of_the_figures_and_paired_intervals_are_narrower() -> None:
    worse, better = _table(0.7, 1), _table(0.8, 2)
    _, found = compare_tables([("worse", worse), ("better", better)])
    difference, low, high = found.differences["accuracy"]
    exact = accuracy(better.labels, better.probs) - accuracy(worse.labels, worse.probs)
    assert difference == pytest.approx(exact)
    assert 0 < low <= difference <= high
    # against the same answers given in another order, nothing of what makes a draw easy cancels out
    shuffled = np.random.default_rng(3).permutation(N // 3) * 3
    order = (shuffled[:, None] + np.arange(3)).ravel()
    loose = paired_differences(worse.labels, worse.probs, better.probs[order], worse.identities())["accuracy"]
    assert loose[2] - loose[1] > high - low


def test_only_what_all_answered_is_compared() -> None:
    table = _table(0.7, 1)
    some = replace(table, status=("corrupt", *table.status[1:]))
    assert {item.n for item in compare_tables([("a", table), ("b", some)])} == {N - 1}
    other = replace(table, paths=tuple(f"x{path}" for path in table.paths))
    with pytest.raises(DataError, match="no judged image in common"):
        compare_tables([("a", table), ("b", other)])


def test_the_command_reads_folders_and_files(tmp_path: Path) -> None:
    save_predictions(_table(0.7, 1), tmp_path / "run" / "predictions.csv")
    save_predictions(_table(0.8, 2), tmp_path / "b.csv")
    assert len(load_run(tmp_path / "run")) == N
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "run"), str(tmp_path / "b.csv")])
    assert result.exit_code == 0
    assert "240 images" in result.output
    assert "+0.0000" in result.output
