import pytest

from threeages.data.importing.grouping import SEVERAL_GROUPS, Grouping, parse_mapping
from threeages.errors import ConfigError
from threeages.labels import AgeBounds


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("Middle-aged", 1, ""), ("2", 2, ""), ("13-30", 0, ""), ("(60, 100)", 2, ""), ("more than 50", 2, ""),
        ("25-32", None, SEVERAL_GROUPS), ("0-12", None, "under_13"), ("10-19", None, SEVERAL_GROUPS),
        ("25", None, "bad_label"), ("adult", None, "bad_label"), ("", None, "no_label"),
    ],
)  # fmt: skip
def test_labels_and_ranges(text: str, label: int | None, reason: str) -> None:
    assert Grouping().read_label(text)[:2] == (label, reason)


@pytest.mark.parametrize(
    ("text", "label", "reason"),
    [
        ("25,5", 0, ""), ("0", None, "under_13"), ("60+", 2, ""), ("25-32", None, SEVERAL_GROUPS),
        ("Senior", 2, ""), ("adult", None, "no_age"), ("", None, "no_age"), ("999", None, "no_age"),
    ],
)  # fmt: skip
def test_ages_ranges_and_words(text: str, label: int | None, reason: str) -> None:
    assert Grouping().read_age(text)[:2] == (label, reason)


def test_bounds_decide_which_ranges_lie_in_one_group() -> None:
    assert Grouping(AgeBounds(10, 33, 51)).read_label("25-32").label == 0


def test_a_mapping_goes_before_every_other_rule() -> None:
    grouping = Grouping(mapping=parse_mapping({"Adult": "MIDDLE", "1": "young", "(25, 32)": "0", "3-9": "0"}))
    assert [grouping.read_label(text).label for text in ("ADULT ", "1", "2", "(25, 32)")] == [1, 0, 2, 0]
    assert grouping.read_age("3-9").label == 0
    assert grouping.is_word("adult")


def test_a_mapping_to_no_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="'adult'"):
        parse_mapping({"x": "adult"})
