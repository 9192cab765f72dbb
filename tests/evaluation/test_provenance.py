import json
from pathlib import Path
from typing import Any

import pytest

from threeages.evaluation.provenance import Provenance, join_provenance, read_provenance


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"split": {"mode": "random", "leaked_duplicates": 3}, "config": {"seed": 7}}, ("random", 7, 3)),
        ({"config": {"split": "identity", "seed": 42}, "split": {"train": 9}}, ("identity", 42, None)),
        ({"config": {"split": {"kind": "random"}, "seed": "x"}, "split": []}, ("", None, None)),
        ([1], ("", None, None)),
    ],
)
def test_split_and_seed_are_read_as_far_as_they_are_there(
    tmp_path: Path, content: Any, expected: tuple[Any, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read_provenance(tmp_path) == Provenance(*expected)


def test_a_folder_without_a_readable_config_says_nothing(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) == Provenance()
    (tmp_path / "config.json").write_text("{")
    assert read_provenance(tmp_path) == Provenance()


def test_only_a_random_split_is_warned_of() -> None:
    assert Provenance("identity", 1, 5).notes() == ()
    assert Provenance().notes() == ()
    (note,) = Provenance("random").notes()
    assert "in training too" in note
    assert "epoch was chosen on the rows evaluated" in note
    assert "1,200 rows are exact duplicates" in Provenance("random", 1, 1200).notes()[1]


def test_one_random_part_makes_the_whole_random() -> None:
    folds = [Provenance("identity", 42, 0), Provenance("identity", 42, 2)]
    assert join_provenance(folds) == Provenance("identity", 42, 2)
    assert join_provenance([*folds, Provenance("random", 1, 3)]) == Provenance("random", None, 5)
    assert join_provenance([Provenance("identity"), Provenance()]) == Provenance()
