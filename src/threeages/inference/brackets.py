"""Brackets of ages of the user's own, and their probabilities from a distribution over years; plain numpy."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from threeages.errors import ConfigError

LAST_YEAR = 100  # of the distribution over ages
HINT = f"Give the first years of the brackets, rising from 0 to {LAST_YEAR}, such as 0,13,18,30,50."


@dataclass(frozen=True)
class Brackets:
    """Brackets of ages by their first years, which rise from 0; the last one has no end.

    Raises ConfigError where they do not rise, lie outside 0 to 100, or leave less than two brackets.

    Example:
        >>> Brackets((0, 13, 18)).names
        ('0-12', '13-17', '18+')
    """

    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.starts, self.starts[1:], strict=False))
        if len(self.starts) < 2 or not rising or self.starts[0] != 0 or self.starts[-1] > LAST_YEAR:
            raise ConfigError(f"The brackets were {', '.join(map(str, self.starts)) or 'none'}.", hint=HINT)

    @classmethod
    def create(cls, years: "str | Iterable[int] | Self") -> Self:
        """Brackets from first years or from their text; one from 0 is added where it is not given.

        Raises ConfigError for anything but whole years.
        """
        if isinstance(years, cls):
            return years
        parts = years.split(",") if isinstance(years, str) else list(years)  # type: ignore[arg-type]
        try:
            starts = [int(part) for part in parts]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"The brackets were '{years}'.", hint=HINT) from error
        if twice := [start for start, count in Counter(starts).items() if count > 1]:
            raise ConfigError(
                f"The brackets were '{','.join(map(str, starts))}': the year {twice[0]} is given twice.",
                hint=f"Give each once. {HINT}",
            )
        return cls(tuple(starts if starts[:1] == [0] else [0, *starts]))

    @property
    def names(self) -> tuple[str, ...]:
        """Such as '13-17', '18' for a single year, and '50+' for the last."""
        ends = [start - 1 for start in self.starts[1:]]
        inner = (str(a) if a == b else f"{a}-{b}" for a, b in zip(self.starts, ends, strict=False))
        return (*inner, f"{self.starts[-1]}+")

    def find(self, ages: NDArray[np.floating]) -> NDArray[np.int64]:
        """Index of the bracket of each age in years `(n,)`; an age of 17.9 is one of 17."""
        found = np.searchsorted(self.starts, np.asarray(ages, dtype=np.float64), side="right") - 1
        return np.asarray(found, dtype=np.int64)

    def probs(self, years: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
        """Probabilities `(..., brackets)` from distributions over the ages 0 to 100, `(..., 101)`."""
        sums = np.add.reduceat(rescale_years(years, temperature), self.starts, axis=-1)
        return np.asarray(sums, dtype=np.float64)


EVERY_YEAR = Brackets(tuple(range(LAST_YEAR + 1)))


def rescale_years(years: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Distributions `(..., 101)` that add up to 1, with their logits divided by a temperature.

    Temperature scaling of the distribution over years: above 1 it widens. Source: Guo et al. (2017).
    """
    values = np.maximum(np.asarray(years, dtype=np.float64), 0.0)
    powers = values if temperature == 1 else values ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)
