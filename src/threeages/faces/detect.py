"""Faces in an image: the interface of a detector, and the search with a second, padded detection."""

from typing import Protocol

import cv2
import numpy as np

from threeages.faces.crop import Box, Face, intersection, whole_image
from threeages.faces.images import Pixels, scale_image

MIN_SCORE = 0.7  # of a face in an image
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
    """
    height, width = pixels.shape[:2]
    faces = detector.detect(pixels)
    if len(faces) == 1 and faces[0].area >= MIN_CROP_SHARE * height * width:
        return [whole_image(pixels, faces[0].landmarks)]
    return faces or _find_padded(pixels, detector)


def _find_padded(pixels: Pixels, detector: Detector) -> list[Face]:
    """The whole image as a face where the detector finds one inside a grey border, else []."""
    padded, inner = _pad(pixels)
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    found = detector.detect(padded, MIN_PADDED_SCORE)
    face = max(found, key=lambda f: intersection(f.box, inner), default=None)
    if face is None or intersection(face.box, inner) < MIN_PADDED_SHARE * area:
        return []
    if face.landmarks is None:
        return [whole_image(pixels)]
    landmarks = (face.landmarks - inner[:2]) * pixels.shape[1] / (inner[2] - inner[0])
    return [whole_image(pixels, landmarks.astype(np.float32))]


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
