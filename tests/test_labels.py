import math

import pytest

from threeages.errors import ConfigError, DataError
from threeages.labels import AGE_GROUPS, AgeBounds, label_index


@pytest.mark.parametrize(
    ("age", "label"),
    [(0, None), (12.9, None), (13, 0), (30.9, 0), (31, 1), (50.9, 1), (51, 2), (120, 2), (math.nan, None)],
)
def test_bounds_are_first_years(age: float, label: int | None) -> None:
    assert AgeBounds().label(age) == label


@pytest.mark.parametrize(
    "bounds", [(31, 13, 51), (13, 13, 51), (13, 51, 51), (-1, 31, 51), (13, math.nan, 51)]
)
def test_bounds_must_rise(bounds: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="Age bounds"):
        AgeBounds(*bounds)


def test_other_bounds_are_used() -> None:
    assert [AgeBounds(0, 18, 65).label(age) for age in (5, 18, 64, 65)] == [0, 1, 1, 2]


@pytest.mark.parametrize("index", range(3))
def test_names_and_indices_are_read(index: int) -> None:
    name = AGE_GROUPS[index]
    assert {label_index(text) for text in (name, name.lower(), f" {name} ", str(index))} == {index}


@pytest.mark.parametrize(
    ("text", "index"),
    [("Middle-aged", 1), ("middle_age", 1), ("MIDDLE AGED ADULT", 1), ("middleAged", 1), ("Senior", 2),
     ("senior citizens", 2), ("Elderly", 2), ("old_age", 2), ("Young Adult", 0), ("teenager", 0), ("1.0", 1),
     ("Young (13-30)", 0), ("01_middle", 1), ("Old people", 2), ("class: senior", 2), ("young_women", 0)],
)  # fmt: skip
def test_common_spellings_are_read(text: str, index: int) -> None:
    assert label_index(text) == index


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "-1",
        "YOUNGER",
        "1.5",
        "+1",
        "adult",
        "child",
        "middle-old",
        "adult?",
        "class 1",
        "1 2",
        "group",
    ],
)
def test_unknown_names_say_what_is_allowed(text: str) -> None:
    with pytest.raises(DataError, match="YOUNG, MIDDLE, OLD"):
        label_index(text)
