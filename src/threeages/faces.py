"""From an image to the faces in it: boxes found by a small detector, and the crops a model is given."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.errors import ModelError
from threeages.images import Pixels, resize

Box = tuple[float, float, float, float]
Landmarks = NDArray[
    np.float32
]  # (5, 2): x, y of right eye, left eye, nose tip, mouth's right and left corner

YUNET_PATH = Path(__file__).parent / "assets" / "face_detection_yunet_2023mar.onnx"
WORKING_SIDE = 640  # longer side given to the detector; it still finds faces of about 10 pixels there
# A look at half that side costs a quarter. It is enough where it sees faces, all of them surely and none of
# them small. On 396 faces pasted into photos (results/detection.csv) that finds 0.979 of those of 24-40
# pixels, always looking at the full side 0.990, and larger ones alike; one clear face takes a quarter of the
# time.
QUICK_SIDE = 320
DOUBT_SCORE = 0.1
QUICK_FACE = 20  # pixels of the shorter side in the quick look
PADDED_SIDE = 320  # longer side of a padded crop: the face is then near 160 pixels, the detector's best range
PADDING = 0.5  # border around a tight crop on each side, as a fraction of its longer side
MIN_SCORE = 0.7
# On 200 film crops a plain look finds 165, a padded look at 0.4 finds 192; neither finds any in 100 noise
# images and 45 cuts of photos without a face. At 0.3 a cut of a cat is taken for a face.
TIGHT_SCORE = 0.4
TIGHT_SHARE = 0.2  # a padded face must cover this much of the image for the image to be a face crop
WHOLE_SHARE = 0.6  # a lone face that fills this much is a crop; in training crops are taken whole
# Where the landmarks lie in an aligned square of side 1 (ArcFace's template at 112 px; Deng et al., 2019)
TEMPLATE = (
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    )
    / 112
)
MIN_SAMPLING = 0.5  # a face that shrinks further is averaged first
TEMPLATE_LIFT = 0.02  # the aligned face stands this share higher, so that the chin is in the square

# OpenCV 5 warns at every start that its new engine has one target only
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


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


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        """Faces of a uint8 RGB image `(height, width, 3)`, the largest first."""
        ...


class YuNet:
    """OpenCV's YuNet detector; may be shared by threads, as each gets its own network."""

    def __init__(self, path: Path = YUNET_PATH) -> None:
        if not path.is_file():
            raise ModelError(f"The face detector {path} is missing.", hint="Install threeages again.")
        self._path = path
        self._local = threading.local()

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        """Faces of a uint8 RGB image `(height, width, 3)`, the largest first, boxes clipped to the image."""
        longer = max(pixels.shape[:2])
        seen = self.look(pixels, QUICK_SIDE, min(min_score, DOUBT_SCORE))
        faces = [face for face in seen if face.score >= min_score]
        smallest = min((face.shorter for face in faces), default=0.0) * QUICK_SIDE / longer
        if longer <= QUICK_SIDE or (len(faces) == len(seen) and smallest >= QUICK_FACE):
            return faces
        return self.look(pixels, WORKING_SIDE, min_score)

    def look(self, pixels: Pixels, side: int, min_score: float) -> list[Face]:
        """As `detect`, with one look at the image shrunk to `side` pixels on its longer side."""
        height, width = pixels.shape[:2]
        small = _shrink(pixels, side)
        network = self._network()
        network.setScoreThreshold(min_score)
        network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = network.detect(np.ascontiguousarray(small[:, :, ::-1]))  # the network takes BGR
        if rows is None:  # OpenCV's stubs say never; OpenCV does
            return []  # type: ignore[unreachable]
        scale = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        faces = [_face(row, scale, width, height) for row in np.asarray(rows, dtype=np.float32)]
        return sorted((f for f in faces if f.area > 0), key=lambda f: f.area, reverse=True)

    def _network(self) -> "cv2.FaceDetectorYN":
        if not hasattr(self._local, "network"):
            self._local.network = cv2.FaceDetectorYN.create(str(self._path), "", (WORKING_SIDE, WORKING_SIDE))
        network: cv2.FaceDetectorYN = self._local.network
        return network


def whole(pixels: Pixels, landmarks: Landmarks | None = None) -> Face:
    """The image taken as one face crop: the box is the full image, the score 0."""
    height, width = pixels.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), 0.0, landmarks)


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


def cut(pixels: Pixels, face: Face, size: int, *, margin: float = 0.0, alignment: float = 0.0) -> Pixels:
    """What a model is given of a face, uint8 `(size, size, 3)`; the same in training and in use.

    With an `alignment` above 0 the face is turned upright and brought to one scale by its landmarks: they
    come to lie on the template shrunk to that share about the middle. Without landmarks, and with 0, it is
    the box with its `margin`.
    """
    # five points within a pixel are no face that could be turned
    if alignment and face.landmarks is not None and np.ptp(face.landmarks, axis=0).max() >= 1:
        return _align(pixels, face.landmarks, size, alignment)
    return resize(crop(pixels, face, margin), size)


def crop(pixels: Pixels, face: Face, margin: float) -> Pixels:
    """Pixels of the face's box grown by `margin` of its longer side each way and clipped; at least 1x1.

    The box keeps its shape: it is not made square.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = face.box
    grow = margin * max(x2 - x1, y2 - y1)
    left, right = _span(x1 - grow, x2 + grow, width)
    top, bottom = _span(y1 - grow, y2 + grow, height)
    return pixels[top:bottom, left:right]


def iou(a: Box, b: Box) -> float:
    """Shared area of two boxes over the area that both cover: 0 to 1."""
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    shared = _overlap(a, b)
    return shared / max(sum(areas) - shared, 1e-9)


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


def _shrink(pixels: Pixels, longer: int) -> Pixels:
    height, width = pixels.shape[:2]
    scale = longer / max(height, width)
    return pixels if scale >= 1 else _scaled(pixels, scale)


def _scaled(pixels: Pixels, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def _face(row: NDArray[np.float32], scale: NDArray[np.float32], width: int, height: int) -> Face:
    """A row of YuNet's answer: x, y, width, height, five landmarks, score; in working pixels."""
    x1, y1 = row[:2] * scale
    x2, y2 = (row[:2] + row[2:4]) * scale
    x1, x2 = np.clip((x1, x2), 0, width)
    y1, y2 = np.clip((y1, y2), 0, height)
    return Face((float(x1), float(y1), float(x2), float(y2)), float(row[14]), row[4:14].reshape(5, 2) * scale)


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


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)
