"""From an image to the faces in it, whatever detector finds them, and to the crops a model is given."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels, resize

Box = tuple[float, float, float, float]
Landmarks = NDArray[
    np.float32
]  # (5, 2): x, y of right eye, left eye, nose tip, mouth's right and left corner

# Where the landmarks lie in an aligned square of side 1 (ArcFace's template at 112 px; Deng et al., 2019)
TEMPLATE = (
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    / 112
)
MIN_SAMPLING = 0.5  # a face that shrinks further is averaged first
TEMPLATE_LIFT = 0.02  # the aligned face stands this share higher, so that the chin is in the square


@dataclass(frozen=True)
class Face:
    """One face: `box` is x1, y1, x2, y2 and `landmarks`, where known, are points in pixels of the image."""

    box: Box
    score: float
    landmarks: Landmarks | None = field(default=None, compare=False)

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def shorter(self) -> float:
        """Pixels of the box's shorter side."""
        return min(self.box[2] - self.box[0], self.box[3] - self.box[1])


def whole(pixels: Pixels, landmarks: Landmarks | None = None) -> Face:
    """The image taken as one face crop: the box is the full image, the score 0."""
    height, width = pixels.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), 0.0, landmarks)


def align_crop(
    pixels: Pixels, face: Face, size: int, *, margin: float = 0.0, alignment: float = 0.0
) -> Pixels:
    """What a model is given of a face, uint8 `(size, size, 3)`; the same in training and in use.

    It shows the box with its `margin`, whatever lies around: the training sets' images are such boxes, so
    that a photo's surroundings are nothing that a model has learnt to overlook. With an `alignment` above 0
    the face is turned upright and brought to one scale by its landmarks: they come to lie on the template
    shrunk to that share about the middle, and where the square reaches out of the box, its edge goes on.
    """
    left, top, right, bottom = _window(pixels, face, margin)
    part = pixels[top:bottom, left:right]
    # five points within a pixel are no face that could be turned
    if alignment and face.landmarks is not None and np.ptp(face.landmarks, axis=0).max() >= 1:
        return _align(part, face.landmarks - np.array([left, top], dtype=np.float32), size, alignment)
    return resize(part, size)


def crop_box(pixels: Pixels, face: Face, margin: float) -> Pixels:
    """Pixels of the face's box grown by `margin` of its longer side each way and clipped; at least 1x1.

    The box keeps its shape: it is not made square.
    """
    left, top, right, bottom = _window(pixels, face, margin)
    return pixels[top:bottom, left:right]


def iou(a: Box, b: Box) -> float:
    """Shared area of two boxes over the area that both cover: 0 to 1."""
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    shared = _overlap(a, b)
    return shared / max(sum(areas) - shared, 1e-9)


def _window(pixels: Pixels, face: Face, margin: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the box so grown."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = face.box
    grow = margin * max(x2 - x1, y2 - y1)
    left, right = _span(x1 - grow, x2 + grow, width)
    top, bottom = _span(y1 - grow, y2 + grow, height)
    return left, top, right, bottom


def _align(pixels: Pixels, landmarks: Landmarks, size: int, alignment: float) -> Pixels:
    """A similarity by least squares (Umeyama, 1991) in complex numbers; outside, the image's edge goes on."""
    template = ((TEMPLATE - 0.5) * alignment + (0.5, 0.5 - TEMPLATE_LIFT)) * size
    source, target = (points.astype(np.float64) @ (1, 1j) for points in (landmarks, template))
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real
    shift = target.mean() - turn * source.mean()
    corners = (np.array([0, size, size * 1j, size * (1 + 1j)]) - shift) / turn
    x, y = _reach(corners.real, pixels.shape[1]), _reach(corners.imag, pixels.shape[0])
    part, scale = pixels[slice(*y), slice(*x)], 1.0
    if abs(turn) < MIN_SAMPLING:  # else pixels between the samples would be left out
        part, scale = _scaled(part, abs(turn)), abs(turn)
    turn, shift = turn / scale, shift + turn * (x[0] + 1j * y[0])
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return np.asarray(cv2.warpAffine(part, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _reach(values: NDArray[np.float64], limit: int) -> tuple[int, int]:
    """The pixels from the least value to the greatest, and two more for the interpolation."""
    return _span(float(values.min()) - 2, float(values.max()) + 2, limit)


def _span(start: float, stop: float, limit: int) -> tuple[int, int]:
    first = min(max(round(start), 0), limit - 1)
    return first, min(max(round(stop), first + 1), limit)


def shrink(pixels: Pixels, longer: int) -> Pixels:
    """The image with at most `longer` pixels on its longer side, in its shape."""
    height, width = pixels.shape[:2]
    scale = longer / max(height, width)
    return pixels if scale >= 1 else _scaled(pixels, scale)


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
