from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.cache import PixelCache
from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.training.identity import describe_data

SPLIT = Split(np.arange(2), np.array([2]), np.array([3]), 0)
IMAGES = PixelCache(Path(), np.zeros((4, 1, 1, 3), dtype=np.uint8), np.zeros((4, 16), dtype=np.uint8), {})


@pytest.mark.parametrize("column", ["age", "age_low", "age_high"])
def test_labels_are_others_where_a_range_that_is_learned_changes(column: str) -> None:
    columns = {"age": ("20",) * 4, "age_low": ("",) * 4, "age_high": ("",) * 4}
    first = Manifest(Path(), tuple("abcd"), np.zeros(4, dtype=np.int64), columns)
    other = replace(first, columns=columns | {column: ("30",) * 4})
    before, after = (describe_data(m, SPLIT, IMAGES, ["age"])["labels"] for m in (first, other))
    assert before != after
    before, after = (describe_data(m, SPLIT, IMAGES)["labels"] for m in (first, other))
    assert before == after  # no head learns from it
