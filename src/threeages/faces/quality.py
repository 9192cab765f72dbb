"""Whether a face shows enough to be judged: its size and its sharpness."""

import cv2
import numpy as np

from threeages.faces.crop import Face
from threeages.faces.images import Pixels, resize

MIN_FACE = 16  # pixels of the shorter side
# Chosen so that no real film face is rejected, and most of those whose accuracy a blur has reduced are:
# results/sharpness.csv, by studies/blur.py.
MIN_DETAIL = 0.0009
_SIDE, _COARSE = 64, 12


def face_detail(pixels: Pixels) -> float:
    """Share of a face crop's contrast in waves of which six or more fit into it: 0 (none) to 1.

    The crop, uint8 RGB `(height, width, 3)`, is brought to one size first, so that the figure says how soft
    the face is and not how many pixels it has. A crop of one colour has no detail.
    """
    grey = cv2.cvtColor(resize(pixels, _SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    power = np.square(cv2.dct(grey - grey.mean()))  # a cosine transform sees no edge where the crop ends
    contrast = float(power.sum())
    return 1 - float(power[:_COARSE, :_COARSE].sum()) / contrast if contrast > 0 else 0.0


def find_fault(face: Face, crop: Pixels, scale: float = 1.0) -> str:
    """'face_too_small', 'blurred' or ''; `scale` says how many pixels of the photo one of the box is."""
    if face.shorter * scale < MIN_FACE:
        return "face_too_small"
    return "blurred" if face_detail(crop) < MIN_DETAIL else ""
