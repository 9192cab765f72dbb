"""Faces in an image: the interface of a detector, and the search with a second, padded detection."""

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from threeages.faces.crop import Box, Face, intersection, turn_face, turn_image, whole_image
from threeages.faces.images import Pixels, scale_image, shrink_image
from threeages.faces.turned import (
    MIN_DOUBTFUL_TILE,
    TILE_MIN_SCORE,
    TILE_SIDES,
    choose_turns,
    is_plausible,
    settles,
    tile_scores,
    tile_turns,
)

MIN_SCORE = 0.7  # of a face in an image
DOUBTFUL_SCORE = 0.3  # from which on up to MIN_SCORE a face may be a turned one
MAX_DOUBTFUL = 2  # of these that are looked at, the best first
MAX_SHARED = 0.3  # of the smaller of two boxes that they may share without being the same face
MIN_GLANCE_SCORE = 0.6  # of a face there, for a look at the image in that turn
QUICK_TURNED_SIDE = 320  # pixels of an image that shows no upright face, when it is looked at in its turns
MIN_CROP_SHARE = 0.6  # a lone face with this share of the image: the image is a face crop

PADDED_SIDE = 320  # pixels of the padded image: the face then has about 160, the detector's best range
PADDING = 0.5  # grey border on each side, as a share of the image's longer side
# In the padded image: at this score film crops are found and neither noise nor photos without a face count;
# somewhat lower, a cat does.
MIN_PADDED_SCORE = 0.4
MIN_PADDED_SHARE = 0.2  # a face must cover this share of the image for the image to be a face crop


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        """Faces of a uint8 RGB image `(height, width, 3)`, the largest first."""
        ...


def find_faces(pixels: Pixels, detector: Detector) -> list[Face]:
    """Faces of a uint8 RGB image `(height, width, 3)`, the largest first; [] where there is none.

    An image that one face fills is a face crop: its face is the whole image. Where the detector finds
    nothing, the crop may be too tight to show the outline of the face: the detector runs once more on the
    image inside a grey border, and a face that covers MIN_PADDED_SHARE of the image makes it a face crop.

    A face that is not plausible as an upright one, and an image without a face, are looked at in four turns.
    A face that stands upright after `turns` quarter turns is the one that is found in the image so turned,
    with box and landmarks in pixels of the image given; its `turns` are None where it cannot be found there.
    """
    return search_faces(pixels, detector)[0]


def search_faces(pixels: Pixels, detector: Detector) -> tuple[list[Face], list[Face]]:
    """The faces as `find_faces` gives them, and all that the detector reports from DOUBTFUL_SCORE on."""
    found = detector.detect(pixels, DOUBTFUL_SCORE)
    faces = [face for face in found if face.score >= MIN_SCORE]
    if len(faces) < len(found) or not all(map(is_plausible, faces)):
        faces = _examine(pixels, found, detector)
    faces = _as_crop(pixels, faces) or _find_padded(pixels, detector) or _find_turned(pixels, detector)
    return faces, found


def _as_crop(pixels: Pixels, faces: list[Face]) -> list[Face]:
    """The faces, or the whole image as a face where a lone one fills it."""
    height, width = pixels.shape[:2]
    if len(faces) == 1 and faces[0].area >= MIN_CROP_SHARE * height * width:
        return [whole_image(pixels, faces[0].landmarks, faces[0].turns)]
    return faces


def _examine(pixels: Pixels, found: list[Face], detector: Detector) -> list[Face]:
    """The faces of MIN_SCORE that stand upright, and those of the others that do when the image is turned.

    A face below MIN_SCORE may be one that is turned; the MAX_DOUBTFUL best of them are looked at.
    """
    certain = [face for face in found if face.score >= MIN_SCORE]
    doubtful = [face for face in found if face.score < MIN_SCORE and not _overlaps(face, certain)]
    doubtful = sorted(doubtful, key=lambda f: f.score, reverse=True)[:MAX_DOUBTFUL]
    kept, turned = [], []
    for face in [*certain, *doubtful]:
        turns = 0 if is_plausible(face) else _find_turns(pixels, face, detector)
        if turns == 0 and face.score >= MIN_SCORE:
            kept.append(face)
        elif turns != 0:
            turned.append(replace(face, turns=turns))
    for turns in sorted({face.turns for face in turned if face.turns}):
        kept += [face for face in _look_turned(pixels, turns, detector) if not _overlaps(face, kept)]
    lost = [face for face in turned if face.score >= MIN_SCORE and not _overlaps(face, kept)]
    return sorted(kept + [replace(face, turns=None) for face in lost], key=lambda f: f.area, reverse=True)


def _find_turns(pixels: Pixels, face: Face, detector: Detector) -> int | None:
    """Quarter turns that make a face upright, None where none can be chosen; see `turned.choose_turns`."""
    small, large = TILE_SIDES
    scores = _score_turns(pixels, face, detector, small)
    if settles(scores):
        return scores.index(max(scores))
    if face.score < MIN_SCORE and max(scores) < MIN_DOUBTFUL_TILE and face.score > 0:
        return 0
    return choose_turns(scores, _score_turns(pixels, face, detector, large))


def _score_turns(pixels: Pixels, face: Face, detector: Detector, side: int) -> list[float]:
    return tile_scores(detector.detect(tile_turns(pixels, face, side), TILE_MIN_SCORE), side)


def _look_turned(pixels: Pixels, turns: int, detector: Detector) -> list[Face]:
    """The faces that stand upright when the image is turned, in pixels of the image given."""
    image = turn_image(pixels, turns)
    faces = [
        face
        for face in detector.detect(image)
        if is_plausible(face) or _find_turns(image, face, detector) == 0
    ]
    height, width = image.shape[:2]
    return [turn_face(face, -turns, width, height) for face in faces]


def _overlaps(face: Face, others: list[Face]) -> bool:
    return any(intersection(face.box, f.box) > MAX_SHARED * min(face.area, f.area) for f in others)


def _find_padded(pixels: Pixels, detector: Detector) -> list[Face]:
    """The whole image as a face where the detector finds one inside a grey border, else [].

    Where that face is turned, [] too: `_find_turned` finds it.
    """
    padded, inner = _pad(pixels)
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    found = detector.detect(padded, MIN_PADDED_SCORE)
    face = max(found, key=lambda f: intersection(f.box, inner), default=None)
    if face is None or intersection(face.box, inner) < MIN_PADDED_SHARE * area:
        return []
    if not is_plausible(face) and _find_turns(padded, face, detector) != 0:
        return []
    if face.landmarks is None:
        return [whole_image(pixels)]
    landmarks = (face.landmarks - inner[:2]) * pixels.shape[1] / (inner[2] - inner[0])
    return [whole_image(pixels, landmarks.astype(np.float32))]


def _find_turned(pixels: Pixels, detector: Detector) -> list[Face]:
    """The faces of an image that shows no upright one: those of its turn with the best face, else [].

    A quick look at each turn says which are worth a look at the full size.
    """
    small = shrink_image(pixels, QUICK_TURNED_SIDE)
    scores = {0: 0.0}
    for turns in (1, 2, 3):
        faces = detector.detect(turn_image(small, turns), MIN_GLANCE_SCORE)
        scores[turns] = max((face.score for face in faces), default=0.0)
    for turns in sorted((t for t in scores if scores[t]), key=lambda t: -scores[t]):
        if faces := _look_turned(pixels, turns, detector):
            return _as_crop(pixels, faces)
    chosen = _find_turns(pixels, whole_image(pixels), detector)
    if not chosen:
        return []
    image = turn_image(pixels, chosen)
    height, width = image.shape[:2]
    return [turn_face(face, -chosen, width, height) for face in _find_padded(image, detector)]


def _pad(pixels: Pixels) -> tuple[Pixels, Box]:
    """The image inside a grey border at the detector's best size, and the image's box in it."""
    height, width = pixels.shape[:2]
    inner = scale_image(pixels, PADDED_SIDE / (1 + 2 * PADDING) / max(height, width))
    h, w = inner.shape[:2]
    border = round(PADDING * max(h, w))
    padded = cv2.copyMakeBorder(
        inner, border, border, border, border, cv2.BORDER_CONSTANT, value=(128, 128, 128)
    )
    return np.asarray(padded, dtype=np.uint8), (border, border, border + w, border + h)
