"""Whether a face is large and sharp enough for an answer."""

import cv2
import numpy as np

from threeages.faces.crop import Face
from threeages.faces.images import Pixels, resize

MIN_FACE_SIDE = 16  # pixels of the shorter side of the box in the photo
# The blur that lowers the model's accuracy is rejected, and no face of the film set (results/sharpness.csv,
# by studies/blur.py).
MIN_DETAIL = 0.0009  # share of the contrast in fine waves
DETAIL_SIDE = 64  # pixels; detail is measured at one size
COARSE_WAVES = 12  # lowest coefficients of the cosine transform in each direction, below 6 waves


def face_detail(pixels: Pixels) -> float:
    """Share of a face crop's contrast in waves of which six or more fit into it, 0 (none) to 1.

    The crop, uint8 RGB `(height, width, 3)`, is resized to one size first, so that the value depends on the
    blur of the face and not on its pixels. The cosine transform is that of JPEG (Ahmed, Natarajan and Rao,
    1974), which sees no edge where the crop ends. A crop of one colour has no detail.
    """
    grey = cv2.cvtColor(resize(pixels, DETAIL_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    power = np.square(cv2.dct(grey - grey.mean()))
    contrast = float(power.sum())
    coarse = float(power[:COARSE_WAVES, :COARSE_WAVES].sum())
    return 1 - coarse / contrast if contrast > 0 else 0.0


def find_rejection_reason(face: Face, crop: Pixels, scale: float = 1.0) -> str:
    """'face_too_small', 'turned', 'blurred', or '' for a face that may get an answer.

    `crop` is the box of the face, uint8 RGB `(height, width, 3)`; `scale` is the number of pixels of the
    photo along a side that one pixel of the box stands for.
    """
    if face.shorter * scale < MIN_FACE_SIDE:
        return "face_too_small"
    if face.turns is None:
        return "turned"
    return "blurred" if face_detail(crop) < MIN_DETAIL else ""
