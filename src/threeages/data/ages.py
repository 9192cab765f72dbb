"""Ages and ranges of ages, as spreadsheets and names of folders write them."""

import re
from dataclasses import dataclass

MAX_AGE = 130.0  # years; a larger number is no age

_NUMBER = r"\d+(?:[.,]\d+)?"
_POINT = re.compile(r"\d+(\.\d+)?")
_DASH = r"(?:-|to|until|through|\.\.+|[\u2010-\u2015\u2212])"
_UNIT = r"(?:years? ?old|years?|yrs?|yo|y)?"
_AGE = re.compile(rf"(?P<low>{_NUMBER}) ?{_UNIT}")
_DECADE = re.compile(r"(?P<low>\d{1,2}0) ?'?s")
_RANGE = re.compile(rf"(?P<low>{_NUMBER}) ?{_UNIT} ?(?:{_DASH}) ?(?P<high>{_NUMBER}) ?{_UNIT}")
_PAIR = re.compile(rf"[(\[] ?(?P<low>{_NUMBER}) ?[,;] ?(?P<high>{_NUMBER}) ?[)\]]")
_BARE_PAIR = re.compile(r"(?P<low>\d+)(?:, |; ?)(?P<high>\d+)")
_OVER = r"(?P<over>more than|older than|over|above|>)"  # the year itself is not in the range
_LEAST = re.compile(
    rf"(?:{_OVER}|from|at least|>=|\u2265) ?(?P<low>{_NUMBER}) ?{_UNIT}"
    rf"|(?P<low2>{_NUMBER}) ?{_UNIT} ?(?:\+|plus|(?:and|or) (?:over|older|above|more|up))"
)
_UNDER = r"(?P<under>less than|younger than|under|below|<)"
_MOST = re.compile(
    rf"(?:{_UNDER}|up to|at most|<=|\u2264) ?(?P<high>{_NUMBER}) ?{_UNIT}"
    rf"|(?P<high2>{_NUMBER}) ?{_UNIT} (?:and|or) (?:under|younger|below|less)"
)


@dataclass(frozen=True)
class Ages:
    """First and last year, equal where one age was given."""

    low: float
    high: float

    @property
    def is_range(self) -> bool:
        """Whether more than one age was given."""
        return self.low != self.high


def parse_ages(text: str) -> Ages | None:
    """The age or range of ages in a text, None where there is none or it is above MAX_AGE.

    Read are numbers with a decimal point or comma (`25,5`), ranges (`25-32`, `(25, 32)`, `20s`), ranges with
    one end (`60+`, `more than 70`, `under 13`), each with or without `age` and `years`.
    """
    plain = re.sub(r"(?<=\d)_(?=\d)", "-", text.casefold()).replace("_", " ")
    ages = _parse(re.sub(r"^age[sd]?[ :=-]*", "", " ".join(plain.split())))
    return ages if ages and 0 <= ages.low <= ages.high <= MAX_AGE else None


def read_interval(low: str, high: str) -> Ages | None:
    """The range of two cells in years, where '' leaves that end open; None where they hold no range."""
    first, last = (
        parse_ages(text) if text else Ages(end, end) for text, end in ((low, 0.0), (high, MAX_AGE))
    )
    if not (low or high) or first is None or last is None or first.is_range or last.is_range:
        return None
    return Ages(first.low, last.high) if first.low <= last.high else None


def interval_cells(ages: Ages) -> tuple[str, str]:
    """The two cells of a range, '' for an end that is open above."""
    return f"{ages.low:g}", "" if ages.high >= MAX_AGE else f"{ages.high:g}"


def plain_age(text: str) -> str:
    """A single age in years as a number with a decimal point; any other text as it is."""
    ages = None if _POINT.fullmatch(text) else parse_ages(text)
    return text if ages is None or ages.is_range else f"{ages.low:g}"


def _parse(text: str) -> Ages | None:
    if match := _AGE.fullmatch(text):
        return Ages(_number(match["low"]), _number(match["low"]))
    if match := _DECADE.fullmatch(text):
        return Ages(_number(match["low"]), _number(match["low"]) + 9)
    if match := _RANGE.fullmatch(text) or _PAIR.fullmatch(text) or _BARE_PAIR.fullmatch(text):
        return Ages(_number(match["low"]), _number(match["high"]))
    if match := _LEAST.fullmatch(text):
        return Ages(_number(match["low"] or match["low2"]) + bool(match["over"]), MAX_AGE)
    if match := _MOST.fullmatch(text):
        return Ages(0, _number(match["high"] or match["high2"]) - bool(match["under"]))
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))
