from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.compare import compare_tables, load_run
from threeages.evaluation.metrics import paired_differences, summarize
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
    identities = tuple(f"p{i % 12}" for i in range(N))
    paths = tuple(f"{i}.jpg" for i in range(N))
    return PredictionTable(paths, labels, (OK,) * N, probs, probs.max(1), {"identity": identities})


def test_a_run_differs_from_itself_by_nothing() -> None:
    table = _table(0.7, 1)
    first, second = compare_tables([("a", table), ("b", table)])
    assert first.metrics == second.metrics
    difference, *ends = second.differences["accuracy"]
    assert difference == 0
    assert np.isnan(ends).all()  # that no row differs is no certainty


def test_differences_are_those_of_the_metrics_and_paired_intervals_are_narrower() -> None:
    worse, better = _table(0.7, 1), _table(0.8, 2)
    _, found = compare_tables([("worse", worse), ("better", better)])
    difference, low, high = found.differences["accuracy"]
    exact = (
        summarize(better.labels, better.probs)["accuracy"] - summarize(worse.labels, worse.probs)["accuracy"]
    )
    assert difference == pytest.approx(exact)
    assert 0 < low <= difference <= high
    # against the same predictions in another order, how easy a resample is does not cancel out
    shuffled = np.random.default_rng(3).permutation(N // 3) * 3
    order = (shuffled[:, None] + np.arange(3)).ravel()
    loose = paired_differences(worse.labels, worse.probs, better.probs[order], worse.identities())["accuracy"]
    assert loose[2] - loose[1] > high - low


def test_only_what_all_answered_is_compared() -> None:
    table = _table(0.7, 1)
    some = replace(table, status=("corrupt", *table.status[1:]))
    assert {item.n for item in compare_tables([("a", table), ("b", some)])} == {N - 1}
    other = replace(table, paths=tuple(f"x{path}" for path in table.paths))
    with pytest.raises(DataError, match=r"the first has paths like '0\.jpg', the second like 'x0\.jpg'"):
        compare_tables([("a", table), ("b", other)])


@pytest.mark.parametrize("prefix", ["/data/set/", "C:\\set\\", ""])
def test_paths_that_end_alike_are_shown_side_by_side(prefix: str) -> None:
    table = _table(0.7, 1)
    base = replace(table, paths=tuple(f"img/{path}" for path in table.paths))
    other = replace(table, paths=tuple(f"{prefix}{path}" for path in table.paths))
    with pytest.raises(DataError, match="name no image alike") as caught:
        compare_tables([("a", base), ("b", other)])
    assert f"'img/0.jpg', the second like '{prefix}0.jpg'" in caught.value.message
    assert caught.value.hint == "If these are one image, write the paths of the second file as 'img/0.jpg'."


def test_what_a_run_leaves_out_is_counted() -> None:
    table = _table(0.7, 1)
    some = replace(table.take(np.arange(100)), status=("no_answer", *(OK,) * 99))
    some = replace(some, paths=(*some.paths[:99], "foreign.jpg"))
    first, second = compare_tables([("a", table), ("b", some)])
    assert first.notes == ()
    assert second.notes == (
        "of 240 scored images of a 141 are not in it, and 1 have no answer or no label in it: they are left "
        "out for all.",
        "1 path in it is not in a.",
    )  # fmt: skip


def test_tables_that_share_paths_but_no_answer_say_so() -> None:
    table = _table(0.7, 1)
    silent = replace(table, status=("no_answer",) * N)
    with pytest.raises(DataError, match="share 240 paths, but no labelled image that both answered"):
        compare_tables([("a", table), ("b", silent)])
    halves = [
        replace(table, status=tuple(OK if i % 2 == k else "no_answer" for i in range(N))) for k in (0, 1)
    ]
    with pytest.raises(DataError, match="No image is answered by all of a, b, c"):
        compare_tables([("a", table), ("b", halves[0]), ("c", halves[1])])


def test_few_identities_are_too_few_to_compare() -> None:
    table = _table(0.7, 1).take(np.arange(9))
    first, second = compare_tables([("a", table), ("b", replace(table, probs=table.probs[::-1]))])
    assert first.notes[0].startswith("Too few to tell: 9 images of 9 identities were answered by all")
    assert np.isnan(second.differences["accuracy"][1])


def test_a_run_is_a_folder_or_a_file(tmp_path: Path) -> None:
    save_predictions(_table(0.7, 1), tmp_path / "run" / "predictions.csv")
    assert load_run(tmp_path / "run").paths == load_run(tmp_path / "run" / "predictions.csv").paths
    with pytest.raises(DataError, match="Cannot read"):
        load_run(tmp_path / "none")


def test_runs_on_other_labels_are_not_compared() -> None:
    table = _table(0.7, 1)
    other = replace(table, labels=(table.labels + (np.arange(N) == 3)) % 3)
    with pytest.raises(DataError, match=r"b has another label than a for 1 image, first 3.jpg"):
        compare_tables([("a", table), ("b", other)])
