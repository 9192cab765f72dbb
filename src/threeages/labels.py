"""The ordered age groups and their bounds in years."""

import math
from dataclasses import dataclass

from threeages.errors import ConfigError, DataError

AGE_GROUPS: tuple[str, ...] = ("YOUNG", "MIDDLE", "OLD")
# Three of the colours of Okabe and Ito (2008), which the common colour-vision deficiencies tell apart too.
# Plots, annotated videos and the page of the service all use these.
AGE_GROUP_COLORS: dict[str, str] = {"YOUNG": "#009e73", "MIDDLE": "#0072b2", "OLD": "#d55e00"}
UNKNOWN = -1
YEARS = "years"  # the task and the model output of the apparent age


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
    """Index of a label given by name in any case (`young`) or by index (`0`)."""
    key = name.strip().upper()
    if key in AGE_GROUPS:
        return AGE_GROUPS.index(key)
    if key in {"0", "1", "2"}:
        return int(key)
    raise DataError(f"Unknown label '{name}'.", hint=f"Allowed: {', '.join(AGE_GROUPS)} (or 0, 1, 2).")
