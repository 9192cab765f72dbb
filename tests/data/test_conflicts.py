import numpy as np

from threeages.data.conflicts import find_conflicts, without_rows
from threeages.data.duplicates import NearDuplicates


def _near(*pairs: tuple[int, int]) -> NearDuplicates:
    found = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return NearDuplicates(found, np.ones(len(found), dtype=np.float32))


def _digests(*names: int) -> np.ndarray:
    return np.asarray(names, dtype=np.uint8)[:, None].repeat(16, axis=1)


def test_exact_and_near_duplicates_with_two_labels_are_one_set() -> None:
    labels = np.asarray([0, 1, 0, 2, 2])
    assert find_conflicts(labels, _digests(7, 7, 8, 9, 10), _near((1, 2))) == [[0, 1, 2]]


def test_copies_that_agree_are_none() -> None:
    labels = np.asarray([0, 0, 1, 1])
    assert find_conflicts(labels, _digests(7, 7, 8, 9), _near((2, 3))) == []


def test_a_copy_without_a_label_is_listed_but_makes_no_conflict() -> None:
    digests = _digests(7, 7, 7, 8, 8)
    assert find_conflicts(np.asarray([0, -1, 1, 0, -1]), digests, _near()) == [[0, 1, 2]]


def test_rows_are_left_out_of_the_sets_that_disagree_without_them() -> None:
    labels = np.asarray([0, 1, 0, 2, -1])
    assert without_rows([[0, 1, 2], [1, 3], [0, 3, 4]], labels, {1}) == [[0, 3, 4]]
