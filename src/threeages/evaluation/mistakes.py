"""The surest mistakes of a model, with small pictures of their faces from the user's own disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from threeages.data.paths import place_inside
from threeages.errors import ImageError
from threeages.evaluation.extremes import MISTAKES, find_extremes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.thumbnails import encode_thumbnail
from threeages.labels import AGE_GROUPS

COUNT = 24
SIDE = 144  # pixels of the longer side of a picture: sharp at 72 on a dense screen
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Mistake:
    """A wrong answer: label and answer are names of age groups, `picture` a data URI or ''."""

    path: str
    label: str
    answer: str
    confidence: float
    picture: str = ""


def find_mistakes(table: PredictionTable, count: int = COUNT) -> tuple[Mistake, ...]:
    """The `count` most confident wrong answers, the surest first, at most one of an identity.

    One person whom the model gets wrong in every picture would otherwise be all that is seen. Raises
    DataError where no row has both a label and an answer.
    """
    return tuple(_describe(table, row) for row in find_extremes(table, count)[MISTAKES].tolist())


def _describe(table: PredictionTable, row: int) -> Mistake:
    answer = AGE_GROUPS[int(table.probs[row].argmax())]
    return Mistake(table.paths[row], AGE_GROUPS[table.labels[row]], answer, float(table.confidence[row]))


def add_pictures(mistakes: Sequence[Mistake], root: Path) -> tuple[Mistake, ...]:
    """The mistakes with the pictures below `root`; one that cannot be read, or lies elsewhere, keeps none."""
    return tuple(replace(found, picture=_read_picture(root, found.path)) for found in mistakes)


def _read_picture(root: Path, name: str) -> str:
    try:
        return encode_thumbnail(place_inside(name, root), SIDE, JPEG_QUALITY)
    except ImageError:
        return ""
