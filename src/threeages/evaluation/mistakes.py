"""The surest mistakes of a model, with small pictures of their faces from the user's own disk."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from threeages.data.manifest import IDENTITY
from threeages.data.paths import path_inside
from threeages.errors import ImageError
from threeages.evaluation.predictions import PredictionTable
from threeages.faces.images import load_image, shrink_image
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

    One person whom the model gets wrong in every picture would otherwise be all that is seen.
    """
    rows = np.flatnonzero(table.scored())
    answers = table.probs[rows].argmax(axis=1)
    wrong = rows[answers != table.labels[rows]]
    order = wrong[np.argsort(-table.confidence[wrong], kind="stable")]
    return tuple(_describe(table, row) for row in _one_each(table, order, count))


def _one_each(table: PredictionTable, order: Sequence[int], count: int) -> Iterator[int]:
    names = table.columns.get(IDENTITY, ("",) * len(table))
    seen: set[str] = set()
    for row in order:
        if names[row] in seen:
            continue
        if names[row]:
            seen.add(names[row])
        yield int(row)
        count -= 1
        if not count:
            return


def _describe(table: PredictionTable, row: int) -> Mistake:
    answer = AGE_GROUPS[int(table.probs[row].argmax())]
    return Mistake(table.paths[row], AGE_GROUPS[table.labels[row]], answer, float(table.confidence[row]))


def add_pictures(mistakes: Sequence[Mistake], root: Path) -> tuple[Mistake, ...]:
    """The mistakes with the pictures below `root`; one that cannot be read, or lies elsewhere, keeps none."""
    return tuple(replace(found, picture=_read_picture(root, found.path)) for found in mistakes)


def _read_picture(root: Path, name: str) -> str:
    inside = path_inside(name, root)
    if inside is None:
        return ""
    try:
        pixels = load_image(root / inside)
    except ImageError:
        return ""
    data = io.BytesIO()
    Image.fromarray(shrink_image(pixels, SIDE)).save(data, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
