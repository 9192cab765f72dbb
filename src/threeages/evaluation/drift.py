"""Do the answers still look like those of the calibration set? Drift without a label."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threeages.errors import DataError
from threeages.evaluation.betting import LEVEL, Bets, check_level
from threeages.files.csvfiles import read_text

BINS = 50  # of each score, from 0 to 1
CONFIDENCE, AGE_GROUP = "confidence", "age_group"
SCORES = (CONFIDENCE, AGE_GROUP)
REFERENCE = "reference"  # key of a thresholds file
_SLOPES = np.asarray([-0.9, -0.6, -0.3, 0.3, 0.6, 0.9])  # bets that a score rose or fell
_BENDS = np.asarray([-0.4, 0.4, 0.8])  # bets that it spread or narrowed
_HINT = "Write one: threeages thresholds PREDICTIONS.csv --out FILE.json."


@dataclass(frozen=True)
class AnswerHistogram:
    """How the answers to a calibration set are distributed: counts of two scores in bins from 0 to 1.

    `confidence` is that of the most probable age group, `age_group` the mean of the groups' places (YOUNG 0,
    MIDDLE 1/2, OLD 1) weighted by their probabilities.
    """

    confidence: tuple[int, ...]
    age_group: tuple[int, ...]

    @classmethod
    def from_probs(cls, probs: ArrayLike) -> Self:
        """The histogram of answers with probabilities `(n, 3)`."""
        places = _find_bins(np.asarray(probs, dtype=np.float64))
        return cls(*(tuple(np.bincount(column, minlength=BINS).tolist()) for column in places.T))

    @classmethod
    def from_dict(cls, raw: Any) -> Self:
        """Inverse of `dataclasses.asdict`; raises DataError where it is no such histogram."""
        found = [raw.get(name) for name in SCORES] if isinstance(raw, Mapping) else []
        if not found or not all(map(_are_counts, found)):
            raise DataError("This is no histogram of answers.", hint=_HINT)
        return cls(*(tuple(counts or ()) for counts in found))


@dataclass(frozen=True)
class DriftState:
    """What a stream of answers says so far.

    Attributes:
        n: Number of answers.
        level: The probability of a false alarm, over the whole stream and both scores.
        e_values: By score, the evidence that the answers differ; an alarm from `2 / level` on.
        alarm_at: The number of answers after which the alarm came; None without one. An alarm stays.
    """

    n: int
    level: float
    e_values: dict[str, float]
    alarm_at: int | None

    @property
    def alarm(self) -> bool:
        """Whether the answers were found to differ from those of the calibration set."""
        return self.alarm_at is not None


class DriftMonitor:
    """Watches whether a stream of answers is exchangeable with the answers to the calibration set.

    While it is, an alarm is ever raised with probability `level` or less. Drift is no error: it says that the
    faces or the images changed, and that thresholds measured on the calibration set may not hold. Neither is
    its absence a proof: errors can rise while the answers look the same. Raises ConfigError for a level that
    is not between 0 and 1.

    Each score's place among those of the calibration set and of the stream so far is a conformal p-value,
    with ties broken at random by the seed; bets are laid against their being uniform. It keeps the counts of
    both histograms and no answer. Source: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
    World" (2005), on conformal test martingales.
    """

    def __init__(self, reference: AnswerHistogram, *, level: float = LEVEL, seed: int = 0) -> None:
        check_level(level)
        self._level = level
        self._counts = np.asarray([reference.confidence, reference.age_group], dtype=np.int64)
        self._bets = [Bets(len(_SLOPES) + len(_BENDS)) for _ in SCORES]
        self._random = np.random.default_rng(seed)
        self._alarm_at: int | None = None

    def update(self, probs: ArrayLike) -> None:
        """Count one answer with the probabilities `(3,)`."""
        places = _find_bins(np.asarray(probs, dtype=np.float64)[None])[0]
        for bets, counts, place in zip(self._bets, self._counts, places, strict=True):
            counts[place] += 1
            above, ties = counts[place + 1 :].sum(), counts[place]
            bets.update(_bet(float((above + self._random.random() * ties) / counts.sum())))
        if self._alarm_at is None and max(b.e_value for b in self._bets) >= len(SCORES) / self._level:
            self._alarm_at = self._bets[0].n

    @property
    def state(self) -> DriftState:
        """The state after the answers so far."""
        values = {name: bets.e_value for name, bets in zip(SCORES, self._bets, strict=True)}
        return DriftState(self._bets[0].n, self._level, values, self._alarm_at)


def load_reference(path: Path) -> AnswerHistogram:
    """The histogram in a json file that `threeages thresholds --out` wrote; raises DataError without one."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no json.", hint=_HINT) from error
    if not isinstance(content, dict) or not content.get(REFERENCE):
        raise DataError(f"{path} holds no histogram of answers.", hint=_HINT)
    try:
        return AnswerHistogram.from_dict(content[REFERENCE])
    except DataError as error:
        raise DataError(f"{path} holds a damaged histogram of answers.", hint=_HINT) from error


def _find_bins(probs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bins `(n, 2)` of both scores."""
    scores = np.stack([probs.max(axis=1), (probs[:, 1] / 2 + probs[:, 2]) / probs.sum(axis=1)], axis=1)
    return np.asarray(np.clip(scores * BINS, 0, BINS - 1), dtype=np.int64)


def _bet(p: float) -> NDArray[np.float64]:
    """Factors of all bets for one p-value; the mean of each is 1 over uniform ones."""
    place = 2 * p - 1
    return np.concatenate([1 + _SLOPES * place, 1 + _BENDS * (3 * place * place - 1)])


def _are_counts(counts: Any) -> bool:
    sound = isinstance(counts, Sequence) and len(counts) == BINS
    return sound and all(type(c) is int and 0 <= c < math.inf for c in counts) and sum(counts) > 0
