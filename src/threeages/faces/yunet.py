"""The YuNet face detector on ONNX Runtime, which is faster than OpenCV's with the same faces."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.bundled import ASSETS, check_bundled
from threeages.errors import ModelError
from threeages.faces.crop import Face
from threeages.faces.detect import MIN_SCORE
from threeages.faces.images import Pixels, shrink_image
from threeages.sessions import create_session

YUNET_PATH = ASSETS / "yunet.onnx"
FULL_SIDE = 640  # pixels of the detector's longer side; it still finds faces of about 10 pixels there
# Detection at half that side costs a quarter. Its faces are final where all of them are certain and none is
# small; results/detection.csv has what that costs and saves.
QUICK_SIDE = 320
UNCERTAIN_SCORE = 0.1  # a face between this and `min_score` calls for the full side
MIN_QUICK_FACE = 20  # pixels of the shorter side at QUICK_SIDE; a smaller face calls for the full side
STRIDES = (8, 16, 32)  # pixels of the image per place of each of the three output maps
OUTPUTS = ("scores", "boxes", "landmarks")  # for n places; see tools/prepare_yunet.py
MAX_OVERLAP = 0.3  # intersection over union of two faces, as in OpenCV's FaceDetectorYN


class YuNet:
    """YuNet (Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", 2023).

    Threads may share one detector; a copy, and one in another process, loads the file again. Raises
    ModelError where its file is missing or damaged.
    """

    def __init__(self, path: Path = YUNET_PATH) -> None:
        check_bundled(path.absolute())
        if not path.is_file():
            raise ModelError(f"The face detector {path} is missing.", hint="Give the path of yunet.onnx.")
        self._path = path.absolute()
        self._session = self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._session = self._open()

    def _open(self) -> Any:
        # one thread, as work is spread over images; no pattern, as photos differ in size
        return create_session(self._path, threads=1, memory_pattern=False)

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        """Faces of a uint8 RGB image `(height, width, 3)`, the largest first, boxes clipped to the image.

        The detector runs at QUICK_SIDE, and at FULL_SIDE where a face is uncertain or small or none is there.
        A face below MIN_SCORE is uncertain whatever `min_score` is.
        """
        longer = max(pixels.shape[:2])
        found = self.detect_at(pixels, QUICK_SIDE, min(min_score, UNCERTAIN_SCORE))
        certain = [face for face in found if face.score >= max(min_score, MIN_SCORE)]
        smallest = min((face.shorter for face in certain), default=0.0) * QUICK_SIDE / longer
        if longer <= QUICK_SIDE or (len(certain) == len(found) and smallest >= MIN_QUICK_FACE):
            return [face for face in found if face.score >= min_score]
        return self.detect_at(pixels, FULL_SIDE, min_score)

    def detect_at(self, pixels: Pixels, side: int, min_score: float) -> list[Face]:
        """Faces of a uint8 RGB image shrunk to `side` pixels on its longer side, the largest first.

        Boxes and landmarks are in pixels of the image given, boxes are clipped to it.
        """
        height, width = pixels.shape[:2]
        small = shrink_image(pixels, side)
        rows = self._run(small, min_score)
        scale = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        faces = _list_faces(rows, scale, width, height)
        return sorted((f for f in faces if f.area > 0), key=lambda f: f.area, reverse=True)

    def _run(self, pixels: Pixels, min_score: float) -> NDArray[np.float32]:
        """float32 `(faces, 15)`: x, y, width, height, five landmarks, score; in pixels of the image."""
        blob = create_blob(pixels)
        scores, boxes, landmarks = (values[0] for values in self._session.run(OUTPUTS, {"input": blob}))
        rows = _decode(scores, boxes, landmarks, _list_places(*blob.shape[2:]), min_score)
        whole = rows[:, :4].astype(int)  # OpenCV compares whole pixels too
        kept = cv2.dnn.NMSBoxes(whole.tolist(), rows[:, 14].tolist(), min_score, MAX_OVERLAP)
        chosen: NDArray[np.float32] = rows[np.asarray(kept, dtype=int).reshape(-1)]
        return chosen


def create_blob(pixels: Pixels) -> NDArray[np.float32]:
    """The input `(1, 3, height, width)`, blue first, of a uint8 RGB image, with black below and on its right.

    Both sides are multiples of the largest stride.
    """
    height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in pixels.shape[:2])
    blob = np.zeros((1, 3, height, width), dtype=np.float32)
    # copies of planes take half the time of cv2.dnn.blobFromImage
    for i, plane in enumerate(cv2.split(pixels)):
        blob[0, 2 - i, : plane.shape[0], : plane.shape[1]] = plane
    return blob


@lru_cache(maxsize=8)
def _list_places(height: int, width: int) -> NDArray[np.float64]:
    """Column, row and stride of every place of the three maps, `(n, 3)`, in the order of the outputs."""
    maps = []
    for stride in STRIDES:
        rows, columns = np.indices((height // stride, width // stride)).reshape(2, -1)
        maps.append(np.stack([columns, rows, np.full_like(rows, stride)], axis=1))
    return np.concatenate(maps).astype(np.float64)


def _decode(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    places: NDArray[np.float64],
    min_score: float,
) -> NDArray[np.float32]:
    """Rows of the places with `min_score`; the outputs are relative to the place, in strides."""
    score = np.sqrt(scores[:, 0] * scores[:, 1])
    kept = np.flatnonzero(score >= min_score)
    box, place, stride = boxes[kept], places[kept, :2], places[kept, 2:]
    points = (landmarks[kept].reshape(-1, 5, 2) + place[:, None]) * stride[:, None]
    size = np.exp(box[:, 2:]) * stride
    corner = (place + box[:, :2]) * stride - size / 2
    rows = np.concatenate([corner, size, points.reshape(-1, 10), score[kept, None]], axis=1)
    return rows.astype(np.float32)


def _list_faces(rows: NDArray[np.float32], scale: NDArray[np.float32], width: int, height: int) -> list[Face]:
    """The faces of rows in an image of `width` x `height` pixels, which is larger by `scale` (x, y)."""
    corners = np.stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) * scale
    np.clip(corners, 0, np.array([width, height], dtype=np.float32), out=corners)
    landmarks = rows[:, 4:14].reshape(-1, 5, 2) * scale
    found = zip(corners.reshape(-1, 4).tolist(), rows[:, 14].tolist(), landmarks, strict=True)
    return [Face((x1, y1, x2, y2), score, points) for (x1, y1, x2, y2), score, points in found]
