import numpy as np

from threeages.data.duplicates import NearDuplicates
from threeages.data.leakage.copies import Copy, Repeats, count_repeats, find_copies
from threeages.data.leakage.sides import Sides

DIGESTS = np.asarray([0, 1, 2, 0, 3, 4, 5, 1], dtype=np.int64)[:, None].view(np.uint8)
TRAIN, TEST = np.arange(3), np.arange(3, 8)


def near(*pairs: tuple[int, int], likeness: float = 0.991) -> NearDuplicates:
    return NearDuplicates(
        np.asarray(pairs, dtype=np.int64).reshape(-1, 2), np.full(len(pairs), likeness, "f4")
    )


def test_exact_copies_are_found_with_their_train_row() -> None:
    found = find_copies(DIGESTS, near(), Sides("", TRAIN, TEST))
    assert found == [Copy(3, 0, "exact"), Copy(7, 1, "exact")]


def test_near_copies_are_found_once_also_by_way_of_another_test_row() -> None:
    pairs = near((2, 4), (4, 5))  # 5 is a copy of 4, which is one of 2
    assert [c for c in find_copies(DIGESTS, pairs, Sides("", TRAIN, TEST)) if c.kind == "near"] == [
        Copy(4, 2, "near"), Copy(5, 2, "near")]  # fmt: skip


def test_a_near_duplicate_of_an_exact_one_counts() -> None:
    digests = np.asarray([0, 1, 1, 2], dtype=np.int64)[:, None].view(np.uint8)
    found = find_copies(digests, near((1, 3)), Sides("", np.asarray([2]), np.asarray([3])))
    assert found == [Copy(3, 2, "near")]


def test_repeated_images_are_counted_by_label() -> None:
    labels = np.asarray([2, 2, 2, 2, 0, 0, -1, 0])
    digests = np.asarray([0, 0, 0, 1, 2, 3, 4, 5], dtype=np.int64)[:, None].view(np.uint8)
    found = count_repeats(labels, digests, near((4, 5)))
    assert found == {"YOUNG": Repeats(3, 0, 1), "OLD": Repeats(4, 2, 0), "no label": Repeats(1, 0, 0)}
    assert found["OLD"].share == 0.5
