import math

import numpy as np
import pytest

from threeages.evaluation import identity_estimate
from threeages.evaluation.identity_estimate import find_likely, measure_estimate

ANGLES = np.radians([0, 10, 90, 100, 5, 50, 95])
FACES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
NAMES = np.asarray(["a", "a", "b", "c", "a", "a", "c"])
TRAIN, TEST = np.arange(4), np.arange(4, 7)


def test_a_row_is_likely_known_where_a_train_face_is_alike() -> None:
    likely, nearest = find_likely(FACES, TRAIN, TEST, threshold=0.9)
    assert likely.tolist() == [True, False, True]
    assert nearest[0] in (0, 1)


def test_purity_and_recall_are_those_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_estimate, "_BLOCK", 2)
    found = measure_estimate(FACES, NAMES, TRAIN, np.asarray([4, 5]), threshold=0.9)
    assert (found.purity, found.recall) == (1.0, 0.5)
    assert found.pairs_found == pytest.approx(3 / 6)  # of the pairs of a, those without the one at 50 degrees
    assert found.pairs_false == pytest.approx(1 / 9)  # b and c are alike
    assert measure_estimate(FACES, NAMES, np.asarray([2]), np.asarray([6]), 0.9).purity == 0.0


def test_what_cannot_be_shared_is_not_defined() -> None:
    found = measure_estimate(FACES, NAMES, np.asarray([2]), np.asarray([4]), threshold=0.9)
    assert math.isnan(found.purity)
    assert math.isnan(found.recall)
