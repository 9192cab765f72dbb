"""The answer for one face, as the command line, the service and its client give it."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Record:
    """The answer for one face, or the reason why there is none.

    `status` is 'ok', 'no_face' or an ImageError's status; `box` is x1, y1, x2, y2 in pixels of the
    upright image; `probs` are by age group.
    """

    path: str
    status: str
    box: tuple[int, int, int, int] | None = None
    age_group: str | None = None
    probs: dict[str, float] | None = None
    confidence: float | None = None
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.__dict__ | {"box": list(self.box) if self.box else None}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; fields that this version does not know are left out."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        return cls(**known | {"box": tuple(known["box"]) if known.get("box") else None})
