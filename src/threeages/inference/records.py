"""The record of one face, as the command line, the service and its client give it."""

from dataclasses import dataclass, fields
from typing import Any, Self

from threeages.labels import AgeBounds

OK = "ok"
MIN_AGE = int(AgeBounds().young)  # years at which the youngest age group begins
# Why a readable image, or a face in it, gets no answer. The service hands these texts to its page.
REJECTION_REASONS: dict[str, str] = {
    "no_face": "No face was found.",
    "face_too_small": "The face is smaller than 16 pixels.",
    "blurred": "The face is too blurred for an answer.",
    "turned": "The face does not stand upright; turn the image so that the eyes are above the mouth.",
    "looks_under_13": f"The person looks younger than {MIN_AGE}; there is no answer for children.",
    "uncertain": "The model is not sure enough for the error rate that was asked for.",
}
TOGETHER = "together"  # path of the record that answers several images of the same identity
ABSTAINED = frozenset(REJECTION_REASONS)


@dataclass(frozen=True)
class Record:
    """The answer for one face of an image, or the reason why there is none.

    Attributes:
        path: Name of the image: its path, or that of the file a file object or Pillow image was opened from;
            `image-0`, `image-1` ... for bytes and arrays.
        status: `ok`; a rejection reason (`no_face`, `face_too_small`, `blurred`, `turned`, `looks_under_13`,
            `uncertain`); or why the image could not be read (`missing`, `empty`, `not_an_image`,
            `unsupported`, `truncated`, `corrupt`, `too_small`, `too_large`, `bad_array`).
        box: x1, y1, x2, y2 of the face in pixels of the upright image.
        age_group: `YOUNG`, `MIDDLE` or `OLD`; None unless the status is `ok`.
        probs: Probability of each age group. A rejected face keeps its probabilities.
        confidence: Probability of `age_group`; None unless the status is `ok`.
        age: Expected apparent age in years; None for a model without an output for years.
        age_low: Lower end of the 90 % interval of the apparent age, in years.
        age_high: Upper end of that interval.
        age_set: Prediction set: the age groups that hold the true one at the coverage given to the
            predictor. None where no coverage was given.
        brackets: Probability of each bracket of ages given to the predictor, by name such as `13-17`. None
            where no brackets were given; `to_dict` then leaves it out.
        message: What the status means and what to do about it; empty where the status is `ok`.

    Example:
        >>> Record("photo.jpg", "no_face", message="No face was found.").failed
        False
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
    brackets: dict[str, float] | None = None

    @property
    def failed(self) -> bool:
        """Whether the image could not be read; a rejection is no failure."""
        return self.status != OK and self.status not in ABSTAINED

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, one entry a field in their order; `brackets` only where given."""
        values = self.__dict__ | {"box": list(self.box) if self.box else None}
        return values if self.brackets is not None else {k: v for k, v in values.items() if k != "brackets"}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. Ignores fields that this version does not know."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        return cls(**known | {"box": tuple(known["box"]) if known.get("box") else None})


NO_FACE_TOGETHER = Record(TOGETHER, "no_face", message="No face was found in any image.")
