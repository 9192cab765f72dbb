from pathlib import Path

import numpy as np

from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.data.split_notes import count_shared_identities, describe_leakage


def _manifest(*names: str) -> Manifest:
    paths = tuple(f"{i}.jpg" for i in range(len(names)))
    return Manifest(Path(), paths, np.zeros(len(names), dtype=np.int64), {"identity": names})


def _split(exact: int = 0, near: int = 0) -> Split:
    test = np.asarray([2, 3])
    return Split(np.asarray([0, 1]), test, test, exact, near)


def test_shared_identities_are_counted_and_zero_is_said_of_named_rows_alone() -> None:
    assert count_shared_identities(_manifest("a", "b", "a", "c"), _split()) == 1
    assert count_shared_identities(_manifest("a", "b", "c", "d"), _split()) == 0
    assert count_shared_identities(_manifest("a", "", "c", ""), _split()) is None
    assert count_shared_identities(_manifest("a", "", "a", ""), _split()) == 1
    assert count_shared_identities(_manifest("", "", "", ""), _split()) is None


def test_a_random_split_is_warned_of_unless_it_shares_nobody() -> None:
    shared, unknown = _manifest("a", "b", "a", "c"), _manifest("", "", "", "")
    (note,) = describe_leakage(shared, _split(), "random")
    assert note.startswith("Random split: 1 identity is in both train and test rows.")
    (note,) = describe_leakage(unknown, _split(), "random")
    assert "the same identities may be in both train and test rows" in note
    assert "may reward recognising people" in note
    assert not list(describe_leakage(_manifest("a", "b", "c", "d"), _split(), "random"))
    assert not list(describe_leakage(_manifest("a", "b", "c", "d"), _split(), "identity"))


def test_duplicates_on_both_sides_are_warned_of() -> None:
    apart = _manifest("a", "b", "c", "d")
    exact, near = describe_leakage(apart, _split(1, 1), "random")
    assert "1 of 2 test rows" in exact
    assert "oversampled" in exact
    assert "Near duplicates alone of 1 of 2 test rows" in near
