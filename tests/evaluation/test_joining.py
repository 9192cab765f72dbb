import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.joining import check_parts, join_runs
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.evaluation.provenance import Provenance


def _table(start: int = 0, n: int = 12, seed: int = 0, split: str = "") -> PredictionTable:
    probs = np.random.default_rng(seed).dirichlet((1, 1, 1), n)
    paths = tuple(f"{i}.jpg" for i in range(start, start + n))
    labels = np.arange(n) % 3
    return PredictionTable(paths, labels, ("ok",) * n, probs, probs.max(1), {}, Provenance(split))


def _save(table: PredictionTable, folder: Path, split: str) -> Path:
    save_predictions(table, folder / "predictions.csv")
    (folder / "config.json").write_text(json.dumps({"config": {"split": split}}))
    return folder


def test_folds_are_joined(tmp_path: Path) -> None:
    folds = [_save(_table(12 * i, seed=i), tmp_path / str(i), "identity") for i in range(2)]
    joined = join_runs(folds)
    assert len(joined) == 24
    assert joined.provenance.split == "identity"


def test_the_same_answers_twice_are_refused(tmp_path: Path) -> None:
    folder = _save(_table(), tmp_path / "run", "identity")
    with pytest.raises(DataError, match="hold the same answers to 12 images: each would count twice"):
        join_runs([folder, folder / "predictions.csv"])
    part = _table().take(np.arange(4, 8)[::-1])
    with pytest.raises(DataError, match="the same answers to 4 images"):
        check_parts([("a", _table()), ("b", _table(50)), ("c", part)])


def test_other_answers_to_the_same_images_are_not_the_same() -> None:
    silent = replace(_table(), probs=np.full((12, 3), np.nan), status=("corrupt",) * 12)
    check_parts([("a", _table()), ("b", _table(seed=1)), ("c", silent)])


@pytest.mark.parametrize("other", ["identity", "source"])
def test_a_random_split_is_not_joined_with_rows_held_out(other: str) -> None:
    parts = [("r", _table(split="random")), ("i", _table(50, split=other))]
    for order in (parts, parts[::-1]):
        with pytest.raises(DataError, match="r is of a random split and i of ") as caught:
            check_parts(order)
        assert "--disjoint" in caught.value.hint
    check_parts([parts[0], ("x", _table(90)), ("y", _table(70, split="random"))])
