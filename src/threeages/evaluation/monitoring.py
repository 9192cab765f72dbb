"""Does a threshold still hold? The risk of a deployed model on a stream of labelled answers."""

import math
from dataclasses import dataclass

import numpy as np

from threeages.errors import ConfigError, DataError
from threeages.evaluation.betting import LEVEL, Bets, check_level

# shares of the capital at risk: small ones find a small excess of errors, large ones a large one fast
_SHARES = np.asarray([0.01, 0.02, 0.05, 0.1, 0.2, 0.4])


@dataclass(frozen=True)
class RiskState:
    """What a stream of labelled answers says so far.

    Attributes:
        n: Number of answers, or of identities where each came once.
        risk: Their mean error; NaN without any.
        target_error: The target error rate.
        level: The probability of a false alarm, over the whole stream.
        e_value: Evidence that the risk exceeds the target; 1 at the start, an alarm from `1 / level` on.
        alarm_at: The number of answers after which the alarm came; None without one. An alarm stays.
    """

    n: int
    risk: float
    target_error: float
    level: float
    e_value: float
    alarm_at: int | None

    @property
    def alarm(self) -> bool:
        """Whether the risk was found to exceed the target error rate, if only for a time."""
        return self.alarm_at is not None


class RiskMonitor:
    """Watches whether the answers of a model err more often than a target error rate.

    While each answer errs with a probability of at most the target, whatever the answers before it were, an
    alarm is ever raised with probability `level` or less, however long the stream is and however often one
    looks. The answers must be those that the threshold let through, in the order of time. Answers for one
    identity are not independent: give their mean error once. Raises ConfigError where the target or the level
    is not between 0 and 1.

    It keeps six numbers and no answer. Source: Podkopaev and Ramdas, "Tracking the risk of a deployed model
    and detecting harmful distribution shifts" (2022); the bets are those of `threeages.evaluation.betting`.

    Example:
        >>> monitor = RiskMonitor(target_error=0.1)
        >>> for error in [0, 0, 1, 1, 1, 1, 1]:
        ...     monitor.update(error)
        >>> monitor.state.alarm_at
        7
    """

    def __init__(self, target_error: float, *, level: float = LEVEL) -> None:
        if not 0 < target_error < 1:
            raise ConfigError(
                f"The target error rate was {target_error}.",
                hint="Give a share between 0 and 1, such as 0.1.",
            )
        check_level(level)
        self._target, self._level = target_error, level
        self._bets = Bets(len(_SHARES))
        self._errors = 0.0
        self._alarm_at: int | None = None

    def update(self, error: float) -> None:
        """Count one answer: 1 where it was wrong, 0 where it was right, or the mean error of one identity.

        Raises DataError where it is not from 0 to 1.
        """
        if not 0 <= error <= 1:
            raise DataError(
                f"The error was {error}.", hint="Give 1 for a wrong answer and 0 for a right one."
            )
        self._errors += error
        self._bets.update(1 - _SHARES + _SHARES * error / self._target)
        if self._alarm_at is None and self._bets.e_value >= 1 / self._level:
            self._alarm_at = self._bets.n

    @property
    def state(self) -> RiskState:
        """The state after the answers so far."""
        n = self._bets.n
        risk = self._errors / n if n else math.nan
        return RiskState(n, risk, self._target, self._level, self._bets.e_value, self._alarm_at)
