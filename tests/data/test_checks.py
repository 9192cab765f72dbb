"""What labels, ages and splits leave open, said in sentences before any image is read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from threeages.data.ages import is_no_age, parse_years
from threeages.data.checks import (
    check_age_groups,
    check_split,
    describe_ages,
    describe_groups,
    find_contradictions,
)
from threeages.data.manifest import Manifest
from threeages.errors import DataError

BY_NAME = {"": -1, "YOUNG": 0, "MIDDLE": 1, "OLD": 2}


def _manifest(labels: Sequence[int], **columns: Sequence[str]) -> Manifest:
    paths = tuple(f"{i}.jpg" for i in range(len(labels)))
    cells = {name: tuple(values) for name, values in columns.items()}
    return Manifest(Path(), paths, np.asarray(labels, dtype=np.int64), cells)


@pytest.mark.parametrize(
    "text", ["-3", "-0.5", "inf", "-inf", "1e999", "123", "150", "abc", "25-32", "20s", "--"]
)
def test_what_is_no_age_counts_as_not_given_and_is_said(text: str) -> None:
    assert parse_years(text) is None
    assert is_no_age(text)
    found = list(describe_ages(_manifest([0, 1], age=["20", text])))
    assert found == [
        f"1.jpg has an age that is no number of years from 0 to 122 ('{text}'), and counts as not given."
    ]


@pytest.mark.parametrize("text", ["", "nan", "NaN", "n/a", "None", "?", "0", "0.5", "122", "99.5"])
def test_an_empty_cell_and_a_possible_age_are_not_worth_a_word(text: str) -> None:
    assert not is_no_age(text)
    assert not list(describe_ages(_manifest([0, -1], age=["20", text])))
    assert (parse_years(text) is None) == (not text[:1].isdigit())


def test_several_rows_are_counted_and_the_first_is_named() -> None:
    found = list(describe_ages(_manifest([0, 1, 2], age=["old", "45", "-1"])))
    assert found[0].startswith("2 rows, first 0.jpg, have an age")


@pytest.mark.parametrize(
    ("labels", "ages", "wrong"),
    [
        ([0, 1, 2], ["20", "40", "70"], []),
        ([0, 1, 2], ["20", "22", "24"], []),  # of other bounds
        ([2, 2, 2], ["5", "40", "70"], []),  # OLD may begin anywhere
        ([0, 1, 2, 2, 2], ["20", "40", "70", "80", "5"], [4]),
        ([0, 0, 0, 1, 1, 0], ["20", "21", "22", "40", "41", "90"], [5]),
        ([0, 2, 0], ["30", "30", "30"], [1]),  # one age is in one group
        ([-1, 1, 0, 0], ["1", "20", "30", "31"], [1]),
        ([0, 1], ["", "nan"], []),
        ([], [], []),
    ],
)
def test_labels_contradict_ages_whatever_the_bounds(
    labels: list[int], ages: list[str], wrong: list[int]
) -> None:
    manifest = _manifest(labels, age=ages)
    assert find_contradictions(manifest).tolist() == wrong
    assert any("contradicts" in sentence for sentence in describe_ages(manifest)) == bool(wrong)
    assert not len(find_contradictions(_manifest(labels)))


def test_contradictions_are_as_few_as_any_bounds_leave() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels, ages = rng.integers(3, size=12), rng.integers(9, size=12)
        found = find_contradictions(_manifest(labels.tolist(), age=[str(age) for age in ages]))
        fewest = min(
            int((labels != (ages >= first).astype(int) + (ages >= second)).sum())
            for second in range(10)
            for first in range(second + 1)
        )
        assert len(found) == fewest


@pytest.mark.parametrize(
    ("labels", "columns", "words"),
    [
        ([-1, -1], {}, "None of 2 rows has a label.\n  Write YOUNG, MIDDLE, OLD into a column label."),
        ([-1, -1], {"age": ["20", "60"]}, "threeages data import"),
        ([-1, -1], {"class": ["kid", "adult"]}, r"column class holds other words \(adult, kid\)"),
        ([2, -1, 2], {}, "Every labelled row is OLD"),
    ],
)
def test_too_few_age_groups_say_what_to_do(
    labels: list[int], columns: dict[str, list[str]], words: str
) -> None:
    manifest = _manifest(labels, **columns)
    with pytest.raises(DataError, match=words):
        check_age_groups(manifest, np.arange(len(labels)))


def test_rows_without_a_label_among_others_that_have_one() -> None:
    manifest = _manifest([0, 1, -1])
    check_age_groups(manifest, np.arange(3))
    check_age_groups(manifest, np.arange(1), least=1)
    with pytest.raises(DataError, match=r"None of 1 test row has a label.\n  Label some"):
        check_age_groups(manifest, np.asarray([2]), "test row", least=1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 2], []),
        ([0, -1], ["No test row is MIDDLE or OLD."]),
        ([-1], ["No test row has a label."]),
        ([], ["No test row has a label."]),
    ],
)
def test_absent_age_groups_are_named(labels: list[int], words: list[str]) -> None:
    assert list(describe_groups(np.asarray(labels, dtype=np.int64), "test row")) == words


@pytest.mark.parametrize(
    ("n", "mode", "words"),
    [
        (0, "random", "has 0 rows; a random split needs at least 2"),
        (1, "random", "has 1 row; a random split needs at least 2"),
        (0, "identity", "has 0 rows; a split needs at least 1"),
        (0, "none", "has 0 rows"),
        (1, "identity", "at most 1"),
    ],
)
def test_a_manifest_that_is_too_small_for_a_split(n: int, mode: str, words: str) -> None:
    manifest = _manifest([0] * n, identity=[f"i{i}" for i in range(n)])
    with pytest.raises(DataError, match=words):
        check_split(manifest, mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_random_split_of_few_rows_has_both_sides(n: int) -> None:
    split = check_split(_manifest([0] * n), "random")
    assert len(split.train) + len(split.test) == n
    assert len(split.train)
    assert len(split.test)
