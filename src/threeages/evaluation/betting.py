"""Bets against a hypothesis on a stream of values: the evidence so far, in bounded memory.

Every bet multiplies its capital by a factor whose mean is at most 1 while the hypothesis holds, so that all
capital together is a nonnegative supermartingale: it ever reaches 1 / level with probability `level` at most
(Ville's inequality). Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting" (2023); Shin, Ramdas and Rinaldo, "E-detectors" (2023) for bets that begin at every time.
"""

import math

import numpy as np
from numpy.typing import NDArray

from threeages.errors import ConfigError

LEVEL = 0.05
MOST = 1e12  # capital of one bet; what exceeds it is given up, so that no stream overflows it


class Bets:
    """The capital of `count` kinds of bets on one stream, of which a part is staked at every value.

    A change is found late in a stream as well, as each value finds capital that was not at stake before it.
    """

    def __init__(self, count: int) -> None:
        self.n = 0
        self._staked = np.zeros(count)

    @property
    def e_value(self) -> float:
        """The capital now, of 1 at the start: how strongly the stream speaks against the hypothesis."""
        return float(self._staked.mean()) + _cash_after(self.n)

    def update(self, factors: NDArray[np.float64]) -> None:
        """Multiply what is staked by the factors `(count,)` of one value."""
        stake = _cash_after(self.n) - _cash_after(self.n + 1)
        self.n += 1
        self._staked = np.minimum((self._staked + stake) * factors, MOST)


def check_level(level: float) -> None:
    """Raise ConfigError where the probability of a false alarm is not between 0 and 1."""
    if not 0 < level < 1:
        raise ConfigError(
            f"The level was {level}.", hint="Give the probability of a false alarm, such as 0.05."
        )


def _cash_after(n: int) -> float:
    """The part of the capital that no bet has been given after `n` values; it falls slowly to 0."""
    return 1 / (1 + math.log1p(n))
