"""From the outputs of the model for one face to its record: the answer, or the reason for a rejection."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from threeages.errors import ConfigError
from threeages.inference.brackets import Brackets
from threeages.inference.records import MIN_AGE, OK, REJECTION_REASONS, Record
from threeages.inference.sets import set_names
from threeages.labels import AGE_GROUPS
from threeages.signature import Signature

MAX_AGE = 100  # the last year of the distribution over ages
MIN_PROB = 1e-6  # floor inside the logarithm: one answer alone cannot rule out an age group
REJECTED_WEIGHT = 0.1  # weight in a pool of a face that is too small or blurred
TAIL = 0.05  # probability outside each end of the 90 % interval of the age

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Policy:
    """When a face gets an answer, and what its prediction set and its age interval are.

    A face is rejected as `uncertain` below the confidence `min_confidence`. An age group is in the
    prediction set from the probability `set_probability` on; None asks for no set. `age_margin` years are
    added at both ends of the interval of the age. The probabilities of `brackets` are those of the
    distribution over years with its logits divided by `years_temperature`.
    """

    min_confidence: float = 0.0
    set_probability: float | None = None
    age_margin: float = 0.0
    brackets: Brackets | None = None
    years_temperature: float = 1.0

    @classmethod
    def create(
        cls,
        signature: Signature,
        max_error: float | None,
        coverage: float | None,
        brackets: Brackets | None = None,
    ) -> Self:
        """The policy for a target error rate and a target coverage, by the thresholds of the signature.

        Raises ConfigError where one is not between 0 and 1, or the model was not measured for it.
        """
        for name, share in (("target error rate", max_error), ("target coverage", coverage)):
            if share is not None and not 0 < share < 1:
                raise ConfigError(f"The {name} was {share}.", hint="Give a number between 0 and 1.")
        return cls(
            0.0 if max_error is None else signature.confidence_for(max_error),
            None if coverage is None else signature.probability_for(coverage),
            signature.age_margin,
            brackets,
            signature.years_temperature,
        )


def face_record(
    path: str,
    box: Box | None,
    probs: NDArray[np.float32],
    years: NDArray[np.float32] | None,
    *,
    policy: Policy,
    rejection: str = "",
) -> Record:
    """The record of one face.

    `probs` is `(3,)`; `years` is the distribution over the ages 0 to 100, `(101,)`, or None; `rejection` is
    the reason for a rejection that was found before, such as `blurred`.
    """
    best = int(probs.argmax())
    status = rejection or _rejection(float(probs[best]), years, policy) or OK
    by_name = {name: round(float(p), 6) for name, p in zip(AGE_GROUPS, probs, strict=True)}
    age, low, high = apparent_age(years, policy.age_margin) if years is not None else (None, None, None)
    return Record(
        path=path,
        status=status,
        box=box,
        age_group=AGE_GROUPS[best] if status == OK else None,
        probs=by_name,
        confidence=by_name[AGE_GROUPS[best]] if status == OK else None,
        age=age,
        age_low=low,
        age_high=high,
        age_set=None if policy.set_probability is None else set_names(probs, policy.set_probability),
        message=REJECTION_REASONS.get(status, ""),
        brackets=_brackets(years, policy),
    )


def _brackets(years: NDArray[np.float32] | None, policy: Policy) -> dict[str, float] | None:
    if policy.brackets is None or years is None:
        return None
    probs = policy.brackets.probs(years, policy.years_temperature).tolist()
    return {name: round(p, 6) for name, p in zip(policy.brackets.names, probs, strict=True)}


def log_probs(probs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithms of probabilities `(..., 3)`, of which a logarithmic opinion pool takes the mean."""
    logs: NDArray[np.float64] = np.log(np.maximum(probs, MIN_PROB, dtype=np.float64))
    return logs


def pooled_probs(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities `(..., 3)` of a mean of `log_probs`: the normalised geometric mean.

    This is the logarithmic opinion pool (Genest and Zidek, "Combining Probability Distributions", 1986).
    results/photos.csv holds its accuracy and calibration on several faces of the same identity.
    """
    found = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(found / found.sum(axis=-1, keepdims=True), np.float64)


@dataclass
class Pool:
    """A weighted pool of the outputs for several faces of the same identity.

    Probabilities of age groups are pooled logarithmically, distributions over ages by their weighted mean.
    """

    weight: float = 0.0
    logs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(AGE_GROUPS)))
    years: NDArray[np.float64] | None = None

    def fade(self, kept: float) -> None:
        """Multiply the weight of everything in the pool by `kept`."""
        self.weight *= kept
        self.logs = kept * self.logs
        self.years = None if self.years is None else kept * self.years

    def add(self, probs: NDArray[np.float32], years: NDArray[np.float32] | None, rejection: str = "") -> None:
        """Add probs `(3,)` and years `(101,)` or None of one face; a rejected face weighs a tenth."""
        weight = REJECTED_WEIGHT if rejection else 1.0
        self.weight += weight
        self.logs = self.logs + weight * log_probs(probs)
        if years is not None:
            self.years = weight * years.astype(np.float64) + (0 if self.years is None else self.years)

    def mean(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The pooled probs `(3,)` and years `(101,)` or None."""
        years = None if self.years is None else (self.years / self.weight).astype(np.float32)
        return pooled_probs(self.logs / self.weight).astype(np.float32), years


def apparent_age(years: NDArray[np.float32], margin: float = 0.0) -> tuple[float, float, float]:
    """Expected age and the ends of its 90 % interval in years, rounded to tenths.

    `years` is a distribution over the ages 0 to 100, `(101,)`; `margin` years are added at both ends.
    """
    below = np.cumsum(years, dtype=np.float64)
    below /= below[-1]
    low, high = (float(np.searchsorted(below, tail)) for tail in (TAIL, 1 - TAIL))
    age = float(np.arange(len(years)) @ years / years.sum())
    return round(age, 1), round(max(low - margin, 0.0), 1), round(min(high + margin, float(MAX_AGE)), 1)


def _rejection(confidence: float, years: NDArray[np.float32] | None, policy: Policy) -> str:
    if years is not None and float(years[:MIN_AGE].sum()) > 0.5:
        return "looks_under_13"
    return "uncertain" if confidence < policy.min_confidence else ""
