import json
from pathlib import Path
from typing import Any

import pytest

from threeages.evaluation.provenance import Provenance, join_provenance, read_provenance
from threeages.evaluation.split_gap import SplitGap

SPLIT = {"mode": "random", "leaked_duplicates": 3, "shared_identities": 2, "selected_on_test": False}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"split": SPLIT, "config": {"seed": 7}}, Provenance("random", 7, 3, 2, False)),
        ({"config": {"split": "identity", "seed": 42}, "split": {"train": 9}}, Provenance("identity", 42)),
        ({"config": {"split": "random", "keep_last": True}}, Provenance("random", selected_on_test=False)),
        ({"config": {"split": {"kind": "random"}, "seed": "x"}, "split": []}, Provenance()),
        ([1], Provenance()),
    ],
)
def test_what_the_config_says_is_read_as_far_as_it_is_there(
    tmp_path: Path, content: Any, expected: Provenance
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read_provenance(tmp_path) == expected


def test_a_folder_without_a_config_says_nothing_and_a_damaged_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_provenance(tmp_path) == Provenance()
    assert caplog.text == ""
    for content in (b"{", b"", bytes(9), b"\xff"):
        (tmp_path / "config.json").write_bytes(content)
        assert read_provenance(tmp_path) == Provenance()
        assert "how its rows were split is not known" in caplog.text
        caplog.clear()


def test_only_a_random_split_is_warned_of_and_only_by_what_is_true() -> None:
    assert Provenance("identity", 1, 5).notes() == ()
    assert Provenance().notes() == ()
    (unknown,) = Provenance("random").notes()
    assert "same identities may be in training" in unknown
    assert "may reward recognising people, not their age" in unknown
    assert "epoch was chosen on the rows evaluated" in unknown
    (known,) = Provenance("random", 1, 1200, 9, False).notes()
    assert "9 identities are in training" in known
    assert "1,200 of them are exact duplicates" in known
    assert "epoch" not in known
    assert Provenance("random", 1, 0, 0, False).notes() == ()  # every row is named, and none is shared
    (measured,) = Provenance("random", gap=SplitGap(0.9, 0.6, 0.3, 0.2, 0.4)).notes()
    assert "0.900 on the random split, 0.600 on an identity-disjoint one" in measured
    assert "gap of 0.300 [0.200, 0.400]" in measured
    assert "may reward" not in measured


def test_one_random_part_makes_the_whole_random() -> None:
    folds = [Provenance("identity", 42, 0, 0, False), Provenance("identity", 42, 2, 0, False)]
    assert join_provenance(folds) == Provenance("identity", 42, 2, 0, False)
    random = Provenance("random", 1, 3, 5, True)
    assert join_provenance([*folds, random]) == Provenance("random", None, 5, 5, None)
    assert join_provenance([Provenance("identity"), Provenance()]) == Provenance()


def test_sources_are_read_and_the_largest_count_of_any_fold_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"split": {"sources": {"faces": 8, "x": "?"}}}))
    found = read_provenance(tmp_path)
    assert found.sources == {"faces": 8}
    assert join_provenance([found, Provenance(sources={"faces": 7, "lfw": 9})]).sources == {
        "lfw": 9,
        "faces": 8,
    }
