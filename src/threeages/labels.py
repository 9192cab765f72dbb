"""The ordered age groups and their bounds in years."""

import math
import re
from dataclasses import dataclass

from threeages.errors import ConfigError, DataError

AGE_GROUPS: tuple[str, ...] = ("YOUNG", "MIDDLE", "OLD")
# Three of the colours of Okabe and Ito (2008), which the common colour-vision deficiencies tell apart too.
# Plots, annotated videos and the page of the service all use these.
AGE_GROUP_COLORS: dict[str, str] = {"YOUNG": "#009e73", "MIDDLE": "#0072b2", "OLD": "#d55e00"}
UNKNOWN = -1
# Spellings of data sets and spreadsheets, as `normal_label` writes them; `1.0` is what a column of numbers
# with empty cells becomes. A word of several groups, such as 'adult', or of none, such as 'child', is absent.
_SPELLINGS = {
    spelling: index
    for index, spellings in enumerate((
        "young, youth, youths, young adult, young adults, young age, young aged, teen, teens, teenager, "
        "teenagers, adolescent, adolescents",
        "middle, mid, middle age, middle aged, middleaged, middleage, mid age, mid aged, midlife, "
        "middle adult, middle adults, middle aged adult, middle aged adults",
        "old, older, old age, old aged, older adult, older adults, elderly, senior, seniors, senior citizen, "
        "senior citizens, senior adult, senior adults",
    ))
    for spelling in (*spellings.split(", "), f"{index}", f"{index}.0")
}  # fmt: skip
YEARS = "years"  # the task and the model output of the apparent age
_FILLERS = frozenset({  # words beside a label: `old people`, `age group: old`
    "age", "ages", "aged", "group", "class", "label", "category", "people", "person", "persons", "man", "men",
    "woman", "women", "male", "female",
})  # fmt: skip


@dataclass(frozen=True)
class AgeBounds:
    """First year of each age group; ages below `young` belong to none.

    The defaults are the annotators' bins of IMFDB: YOUNG 13-30, MIDDLE 31-50, OLD 51 and over.
    """

    young: float = 13
    middle: float = 31
    old: float = 51

    def __post_init__(self) -> None:
        if not 0 <= self.young < self.middle < self.old < math.inf:
            raise ConfigError(
                f"Age bounds were {self.young}, {self.middle}, {self.old}.",
                hint="Give three rising ages in years, such as 13,31,51.",
            )

    def label(self, age: float) -> int | None:
        """Label index of an age in years, or None where it lies below every group."""
        if not age >= self.young:  # so that NaN is in none either
            return None
        return int(age >= self.middle) + int(age >= self.old)


def label_index(name: str) -> int:
    """Index of a label given by name in any case and common spelling (`young`, `Middle-aged`) or index (`0`).

    Raises DataError for any other name, also for those of more than one group, such as `adult`.
    """
    key = normal_label(name)
    words = [word for word in key.split() if not (word.isdigit() or word in _FILLERS)]
    for spelling in (key, " ".join(words)):  # as it is, and `young` of `01_Young (13-30)` or `old people`
        if spelling in _SPELLINGS:
            return _SPELLINGS[spelling]
    raise DataError(
        f"Unknown label '{name}'.",
        hint=f"Allowed: {', '.join(AGE_GROUPS)} (or 0, 1, 2) and spellings such as middle-aged, senior.",
    )


def normal_label(name: str) -> str:
    """A label's name in lower case with single spaces between its words: `middle aged` of `Middle_Aged`."""
    name = name.strip()
    is_number = re.fullmatch(r"[\d.,+-]+", name)
    return name if is_number else " ".join(re.findall(r"[^\W_]+", name.casefold()))
