"""Faces in an image: what a detector must do, and the second, padded look."""

from typing import Protocol

import cv2
import numpy as np

from threeages.faces.crop import Box, Face, _overlap, _scaled, whole
from threeages.faces.images import Pixels

PADDED_SIDE = 320  # longer side of a padded crop: the face is then near 160 pixels, the detector's best range

PADDING = 0.5  # border around a tight crop on each side, as a fraction of its longer side

MIN_SCORE = 0.7

# On 200 film crops a plain look finds 165, a padded look at 0.4 finds 192; neither finds any in 100 noise
# images and 45 cuts of photos without a face. At 0.3 a cut of a cat is taken for a face.
TIGHT_SCORE = 0.4

TIGHT_SHARE = 0.2  # a padded face must cover this much of the image for the image to be a face crop

WHOLE_SHARE = 0.6  # a lone face that fills this much is a crop; in training crops are taken whole


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        """Faces of a uint8 RGB image `(height, width, 3)`, the largest first."""
        ...


def find_faces(pixels: Pixels, detector: Detector) -> list[Face]:
    """Faces of a uint8 RGB image, the largest first; [] where there is none.

    A crop so tight that the detector sees no outline is tried again inside a grey border; where a face
    then covers at least 20 % of the image, the image as a whole is that face.
    """
    height, width = pixels.shape[:2]
    faces = detector.detect(pixels)
    if len(faces) == 1 and faces[0].area >= WHOLE_SHARE * height * width:
        return [whole(pixels, faces[0].landmarks)]
    if faces:
        return faces
    padded, inner = _pad(pixels)
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    seen = detector.detect(padded, TIGHT_SCORE)
    face = max(seen, key=lambda f: _overlap(f.box, inner), default=None)
    if face is None or _overlap(face.box, inner) < TIGHT_SHARE * area:
        return []
    if face.landmarks is None:
        return [whole(pixels)]
    landmarks = (face.landmarks - inner[:2]) * width / (inner[2] - inner[0])
    return [whole(pixels, landmarks.astype(np.float32))]


def _pad(pixels: Pixels) -> tuple[Pixels, Box]:
    """The image inside a grey border at the detector's best size, and where the image lies in it."""
    height, width = pixels.shape[:2]
    inner = _scaled(pixels, PADDED_SIDE / (1 + 2 * PADDING) / max(height, width))
    h, w = inner.shape[:2]
    border = round(PADDING * max(h, w))
    padded = cv2.copyMakeBorder(
        inner, border, border, border, border, cv2.BORDER_CONSTANT, value=(128, 128, 128)
    )
    return np.asarray(padded, dtype=np.uint8), (border, border, border + w, border + h)
