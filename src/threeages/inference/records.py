"""The answer for one face, as the command line, the service and its client give it."""

from dataclasses import dataclass, fields
from typing import Any, Self

# Why a readable image, or a face in it, gets no answer: reasons, not failures.
ABSTAINED = frozenset({"no_face", "face_too_small", "blurred", "uncertain", "looks_under_13"})


@dataclass(frozen=True)
class Record:
    """The answer for one face, or the reason why there is none.

    `status` is 'ok', one of ABSTAINED or an ImageError's status; `box` is x1, y1, x2, y2 in pixels of the
    upright image; `probs` are by age group. A face that was found but not answered keeps its `probs` and has
    no `age_group`. `age` is the expected apparent age in years, `age_low` to `age_high` its 90 % interval
    (models with years only), `age_set` the conformal set that was asked for.
    """

    path: str
    status: str
    box: tuple[int, int, int, int] | None = None
    age_group: str | None = None
    probs: dict[str, float] | None = None
    confidence: float | None = None
    age: float | None = None
    age_low: float | None = None
    age_high: float | None = None
    age_set: list[str] | None = None
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the image could not be read, which is a fault of the input and not an abstention."""
        return self.status != "ok" and self.status not in ABSTAINED

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.__dict__ | {"box": list(self.box) if self.box else None}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; fields that this version does not know are left out."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        return cls(**known | {"box": tuple(known["box"]) if known.get("box") else None})


OK = "ok"
