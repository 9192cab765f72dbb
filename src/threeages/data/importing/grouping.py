"""The age group of a row, from a label, an age or a range of ages in any usual spelling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from threeages.data.ages import Ages, parse_ages
from threeages.errors import ConfigError, DataError
from threeages.labels import AgeBounds, label_index, normal_label

SEVERAL_GROUPS = "several_groups"  # reason: a range of ages that is not inside one group


class Grouped(NamedTuple):
    """A label index or None with the reason, and the ages where the text held some."""

    label: int | None
    reason: str = ""
    ages: Ages | None = None


@dataclass(frozen=True)
class Grouping:
    """How texts become groups: bounds for ages, and a mapping of labels that goes before any other rule."""

    bounds: AgeBounds = field(default_factory=AgeBounds)
    mapping: Mapping[str, int] = field(default_factory=dict)

    @property
    def under(self) -> str:
        """The reason of an age below every group."""
        return f"under_{self.bounds.young:g}"

    def read_label(self, text: str) -> Grouped:
        """The group of a label (`Middle-aged`, `senior`, 0 to 2) or of a range of ages (`25-32`, `60+`)."""
        if not text:
            return Grouped(None, "no_label")
        index = self.find_label(text)
        if index is not None:
            return Grouped(index)
        ages = None if _is_number(text) else parse_ages(text)
        return self.group_ages(ages) if ages else Grouped(None, "bad_label")

    def read_age(self, text: str) -> Grouped:
        """The group of an age or range of ages, or of a label where the text is no number."""
        mapped = self.mapping.get(normal_label(text))
        ages = parse_ages(text)
        if mapped is not None:
            return Grouped(mapped, "", ages)
        if ages:
            return self.group_ages(ages)
        index = None if _is_number(text) else self.find_label(text)
        return Grouped(index, "" if index is not None else "no_age")

    def find_label(self, text: str) -> int | None:
        """Index of a label by the mapping or a usual spelling, None where the text is neither."""
        key = normal_label(text)
        if key in self.mapping:
            return self.mapping[key]
        try:
            return label_index(text)
        except DataError:
            return None

    def is_word(self, text: str) -> bool:
        """Whether a text is a label in words or mapped; '0' alone could be an age as well."""
        return normal_label(text) in self.mapping or (
            not _is_number(text) and self.find_label(text) is not None
        )

    def group_ages(self, ages: Ages) -> Grouped:
        """The group that holds an age, or a range of ages as a whole."""
        low, high = self.bounds.label(ages.low), self.bounds.label(ages.high)
        if low != high:
            return Grouped(None, SEVERAL_GROUPS, ages)
        return Grouped(low, self.under if low is None else "", ages)


def parse_mapping(pairs: Mapping[str, str]) -> dict[str, int]:
    """Label indices by normal name from pairs such as Adult=MIDDLE; raises ConfigError for no such group."""
    try:
        return {normal_label(name): label_index(group) for name, group in pairs.items()}
    except DataError as error:
        raise ConfigError(f"In the mapping of labels: {error.message}", hint=error.hint) from error


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
