"""Faces as boxes and landmarks, and the crops of an image that a model sees."""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels, resize, scale_image

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
# (5, 2): x, y in pixels of the right eye, left eye, nose tip, right and left corner of the mouth
Landmarks = NDArray[np.floating]

# Landmarks in an aligned square of side 1: ArcFace's template at 112 pixels (Deng et al., 2019)
TEMPLATE = (
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    / 112
)
TEMPLATE_LIFT = 0.02  # of the square's side by which the face is moved up, so that the chin is in it
MIN_WARP_SCALE = 0.5  # a face that shrinks further is area-averaged before the warp, which samples bilinearly
MIN_LANDMARK_SPREAD = 1.0  # pixels; closer landmarks define no rotation
WARP_BORDER = 2  # pixels around the sampled area for the interpolation


@dataclass(frozen=True)
class Face:
    """One detected face: box and landmarks in pixels of the image, and the detector's score of 0 to 1.

    `turns` quarter turns of the image, as `numpy.rot90` counts them, make the face upright; None where the
    face does not stand upright and no turn does either.
    """

    box: Box
    score: float
    landmarks: Landmarks | None = field(default=None, compare=False)
    turns: int | None = 0

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def shorter(self) -> float:
        """Shorter side of the box in pixels."""
        return min(self.box[2] - self.box[0], self.box[3] - self.box[1])


def whole_image(pixels: Pixels, landmarks: Landmarks | None = None, turns: int | None = 0) -> Face:
    """A face whose box is the whole image `(height, width, 3)`, for images that are face crops; score 0."""
    height, width = pixels.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), 0.0, landmarks, turns)


def align_crop(
    pixels: Pixels, face: Face, size: int, *, margin: float = 0.0, alignment: float = 0.0
) -> Pixels:
    """The model's input of a face, uint8 RGB `(size, size, 3)`; the same for training and inference.

    `pixels` is uint8 RGB `(height, width, 3)`. The crop shows the box grown by `margin` of its longer side
    and nothing around it, as the images of the training sets are such boxes. With `alignment` 0 the box is
    resized to the square. Above 0 a similarity transform, fitted to the landmarks by least squares (Umeyama,
    1991), maps them onto TEMPLATE scaled by `alignment` about the centre; parts of the square outside the box
    repeat its edge pixels. A face without landmarks is resized. A turned face gives the crop that the image
    turned upright gives.
    """
    if face.turns:
        pixels, face = _turn_upright(pixels, face, face.turns)
    left, top, right, bottom = _window(pixels, face, margin)
    part = pixels[top:bottom, left:right]
    spread = 0.0 if face.landmarks is None else np.ptp(face.landmarks, axis=0).max()
    if alignment and face.landmarks is not None and spread >= MIN_LANDMARK_SPREAD:
        return _align(part, face.landmarks - np.array([left, top], dtype=np.float32), size, alignment)
    return resize(part, size)


def crop_box(pixels: Pixels, face: Face, margin: float) -> Pixels:
    """The box of a face, uint8 RGB `(height, width, 3)`, as a view into `pixels`; at least 1x1.

    The box grows by `margin` of its longer side on each side, keeps its shape and is clipped to the image.
    """
    left, top, right, bottom = _window(pixels, face, margin)
    return pixels[top:bottom, left:right]


def scale_face(face: Face, scale: float) -> Face:
    """A face in the coordinates of the image enlarged by `scale`."""
    x1, y1, x2, y2 = (value * scale for value in face.box)
    landmarks = None if face.landmarks is None else face.landmarks * np.float32(scale)
    return replace(face, box=(x1, y1, x2, y2), landmarks=landmarks)


def turn_image(pixels: Pixels, turns: int) -> Pixels:
    """A uint8 RGB image after quarter turns as `numpy.rot90` counts them; 0 gives the image itself."""
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns % 4 else pixels


def turn_face(face: Face, turns: int, width: int, height: int) -> Face:
    """A face of an image of `width` x `height` pixels in the coordinates of `turn_image(image, turns)`.

    Its own `turns` count from the turned image. The landmarks are float64, so that turning back is exact.
    """
    points = np.array(face.box, dtype=np.float64).reshape(2, 2)
    landmarks = None if face.landmarks is None else face.landmarks.astype(np.float64)
    for _ in range(turns % 4):
        points = np.stack([points[:, 1], width - points[::-1, 0]], axis=1)
        landmarks = None if landmarks is None else np.stack([landmarks[:, 1], width - landmarks[:, 0]], 1)
        width, height = height, width
    x1, y1, x2, y2 = (float(value) for value in points.ravel())
    left = None if face.turns is None else (face.turns - turns) % 4
    return Face((x1, y1, x2, y2), face.score, landmarks, left)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    shared = intersection(a, b)
    return shared / max(sum(areas) - shared, 1e-9)


def intersection(a: Box, b: Box) -> float:
    """Area in square pixels that two boxes share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _turn_upright(pixels: Pixels, face: Face, turns: int) -> tuple[Pixels, Face]:
    height, width = pixels.shape[:2]
    upright = turn_face(face, turns, width, height)
    landmarks = None if upright.landmarks is None else upright.landmarks.astype(np.float32)
    return turn_image(pixels, turns), replace(upright, landmarks=landmarks)


def _window(pixels: Pixels, face: Face, margin: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the grown and clipped box in whole pixels."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = face.box
    grow = margin * max(x2 - x1, y2 - y1)
    left, right = _span(x1 - grow, x2 + grow, width)
    top, bottom = _span(y1 - grow, y2 + grow, height)
    return left, top, right, bottom


def _align(pixels: Pixels, landmarks: Landmarks, size: int, alignment: float) -> Pixels:
    """Warp the landmarks onto the template. Points are complex numbers: `turn` rotates and scales them."""
    template = ((TEMPLATE - 0.5) * alignment + (0.5, 0.5 - TEMPLATE_LIFT)) * size
    source, target = (points.astype(np.float64) @ (1, 1j) for points in (landmarks, template))
    centred = source - source.mean()
    turn = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real
    shift = target.mean() - turn * source.mean()
    corners = (np.array([0, size, size * 1j, size * (1 + 1j)]) - shift) / turn
    x, y = _reach(corners.real, pixels.shape[1]), _reach(corners.imag, pixels.shape[0])
    part, scale = pixels[slice(*y), slice(*x)], 1.0
    if abs(turn) < MIN_WARP_SCALE:  # else the samples would skip pixels
        part, scale = scale_image(part, abs(turn)), abs(turn)
    turn, shift = turn / scale, shift + turn * (x[0] + 1j * y[0])
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    return np.asarray(cv2.warpAffine(part, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _reach(values: NDArray[np.float64], limit: int) -> tuple[int, int]:
    """First and last pixel of the values, with room for the interpolation."""
    return _span(float(values.min()) - WARP_BORDER, float(values.max()) + WARP_BORDER, limit)


def _span(start: float, stop: float, limit: int) -> tuple[int, int]:
    """Whole pixels from `start` to `stop` within 0 to `limit`, at least one."""
    first = min(max(round(start), 0), limit - 1)
    return first, min(max(round(stop), first + 1), limit)
