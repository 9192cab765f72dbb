"""What a model carries with it: how its input is made and what its outputs mean."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from threeages.errors import ConfigError, ModelError
from threeages.labels import AGE_GROUPS

FORMAT = 1
METADATA_KEY = "threeages.signature"
DIGESTS_KEY = "threeages.train_digests"  # of the images and identities that it was trained on

Thresholds = tuple[tuple[float, float], ...]  # pairs of a target rate and the threshold that reaches it


@dataclass(frozen=True)
class Signature:
    """The data contract of a model, stored in its checkpoint and in its ONNX metadata.

    The ONNX graph takes uint8 RGB `(n, input_size, input_size, 3)` and returns float32 `probs` `(n, 3)`:
    colour order, mean and scale are applied inside the graph, `(x - mean) / std` per channel on 0-255
    values, so that no caller retypes them.
    """

    name: str
    input_size: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    color: str = "RGB"  # fixed: the order of the input's channels, for readers in other languages
    margin: float = 0.0  # context kept around a detected face box, as a fraction of its longer side
    alignment: float = 0.0  # share of the landmark template that faces are aligned to; 0: not aligned
    temperature: float = 1.0  # logits are divided by it inside the exported graph
    class_names: tuple[str, ...] = AGE_GROUPS
    # Measured on held-out identities by `threeages thresholds`; empty where that was not done.
    error_thresholds: Thresholds = ()  # error rate -> confidence from which on an answer is given
    set_thresholds: Thresholds = ()  # coverage -> probability from which on an age group is in the set
    age_margin: float = 0.0  # years added at both ends of the central 90 % of the distribution over ages
    years_temperature: float = 1.0  # divides the logits of the distribution over ages, for brackets of ages

    def __post_init__(self) -> None:
        if self.class_names != AGE_GROUPS:
            raise ModelError(
                f"The model's classes are {self.class_names}.", hint=f"This version answers {AGE_GROUPS}."
            )
        sound = (
            self.input_size >= 1
            and 0 < self.temperature < math.inf
            and 0 not in self.std
            and self.alignment >= 0
            and 0 <= self.margin < math.inf
            and math.isfinite(self.age_margin)
            and 0 < self.years_temperature < math.inf
            and all(math.isfinite(v) for v in (*self.mean, *self.std))
            and _are_shares(self.error_thresholds)
            and _are_shares(self.set_thresholds)
        )
        if not sound or self.color != "RGB" or (len(self.mean), len(self.std)) != (3, 3):
            raise ModelError(f"The model's signature is not valid: {self}.", hint="Export it again.")

    def to_json(self) -> str:
        """One line of JSON with the format's version."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`; raises ModelError on a format this version does not know."""
        try:
            raw: dict[str, Any] = json.loads(text)
            found = raw.pop("format")
            values: dict[str, Any] = {k: _frozen(v) for k, v in raw.items()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError("The model's signature is not readable.", hint="Export it again.") from error
        if found != FORMAT or set(values) - {f.name for f in fields(cls)}:
            raise ModelError(
                f"The model's signature has format {found}; this version reads {FORMAT}.",
                hint="Export the model again, or upgrade threeages.",
            )
        try:
            return cls(**values)
        except TypeError as error:  # a value is missing or of another type
            raise ModelError("The model's signature is not complete.", hint="Export it again.") from error

    def confidence_for(self, max_error: float) -> float:
        """The confidence from which on an answer is given, for an error rate of at most `max_error`.

        As measured (selective classification); a rate between two measured ones takes the lower one's.
        Raises ConfigError where no measured rate is so low.
        """
        stricter = [pair for pair in self.error_thresholds if pair[0] <= max_error]
        if not stricter:
            raise self._not_measured("an error rate", max_error, self.error_thresholds)
        return max(stricter)[1]

    def probability_for(self, coverage: float) -> float:
        """The probability from which on an age group is in the prediction set, for at least `coverage`.

        As measured (conformal prediction); a coverage between two measured ones takes the higher one's.
        Raises ConfigError where no measured coverage is so high.
        """
        stricter = [pair for pair in self.set_thresholds if pair[0] >= coverage]
        if not stricter:
            raise self._not_measured("a coverage", coverage, self.set_thresholds)
        return min(stricter)[1]

    def _not_measured(self, what: str, target: float, measured: Thresholds) -> ConfigError:
        known = ", ".join(f"{share:g}" for share, _ in measured)
        return ConfigError(
            f"The model {self.name} has no threshold for {what} of {target:g}.",
            hint=f"Measured: {known}."
            if known
            else "Measure them: threeages thresholds PREDICTIONS.csv --model FILE.onnx.",
        )


def _are_shares(thresholds: Thresholds) -> bool:
    return all(0 <= share <= 1 for pair in thresholds for share in pair) and {2} >= set(map(len, thresholds))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
