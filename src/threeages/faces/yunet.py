"""The YuNet face detector on ONNX Runtime: 1.9 times as fast as in OpenCV, with the same answers."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from threeages.errors import ModelError
from threeages.faces.crop import Face, shrink
from threeages.faces.detect import MIN_SCORE
from threeages.faces.images import Pixels

YUNET_PATH = Path(__file__).parents[1] / "assets" / "yunet.onnx"
WORKING_SIDE = 640  # longer side given to the detector; it still finds faces of about 10 pixels there
# A look at half that side costs a quarter. It is enough where it sees faces, all of them surely and none of
# them small. On 396 faces pasted into photos (results/detection.csv) that finds 0.979 of those of 24-40
# pixels, always looking at the full side 0.990, and larger ones alike; one clear face takes a quarter of the
# time.
QUICK_SIDE = 320
DOUBT_SCORE = 0.1
QUICK_FACE = 20  # pixels of the shorter side in the quick look
STRIDES = (8, 16, 32)  # of the three maps that are searched for faces
MAX_OVERLAP = 0.3  # of two faces, as OpenCV's FaceDetectorYN has it
Arrays = Sequence[NDArray[np.float32]]


class YuNet:
    """Wu, Peng & Yu, "YuNet: a tiny millisecond-level face detector" (2023); may be shared by threads."""

    def __init__(self, path: Path = YUNET_PATH) -> None:
        if not path.is_file():
            raise ModelError(f"The face detector {path} is missing.", hint="Install threeages again.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # work is spread over images, not inside one
        options.enable_mem_pattern = False  # photos differ in size
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        kinds = ("cls", "obj", "bbox", "kps")
        self._outputs = [f"{kind}_{stride}" for stride in STRIDES for kind in kinds]

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
        small = shrink(pixels, side)
        rows = self._find(small, min_score)
        scale = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        faces = [_face(row, scale, width, height) for row in rows]
        return sorted((f for f in faces if f.area > 0), key=lambda f: f.area, reverse=True)

    def _find(self, pixels: Pixels, min_score: float) -> NDArray[np.float32]:
        """Float `(faces, 15)`: x, y, width, height, five landmarks, score; in pixels of the image."""
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in pixels.shape[:2])
        below, right = height - pixels.shape[0], width - pixels.shape[1]
        padded = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_CONSTANT)
        blob = cv2.dnn.blobFromImage(padded, swapRB=True)  # float BGR (1, 3, height, width)
        found = self._session.run(self._outputs, {"input": blob})
        rows = np.concatenate(
            [
                _decode(found[4 * i : 4 * i + 4], stride, width // stride, min_score)
                for i, stride in enumerate(STRIDES)
            ]
        )
        boxes = rows[:, :4].astype(int)  # OpenCV compares whole pixels too
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 14].tolist(), min_score, MAX_OVERLAP)
        chosen: NDArray[np.float32] = rows[np.asarray(kept, dtype=int).reshape(-1)]
        return chosen


def _decode(found: Arrays, stride: int, columns: int, min_score: float) -> NDArray[np.float32]:
    """Rows of one map's places that score enough; everything is measured from the place, in strides."""
    cls, obj, box, points = (values[0] for values in found)
    score = np.sqrt(cls.clip(0, 1) * obj.clip(0, 1))[:, 0]
    kept = np.flatnonzero(score >= min_score)
    place = np.stack([kept % columns, kept // columns], axis=1)
    size = np.exp(box[kept, 2:]) * stride
    corner = (place + box[kept, :2]) * stride - size / 2
    landmarks = (points[kept].reshape(-1, 5, 2) + place[:, None]) * stride
    rows = np.concatenate([corner, size, landmarks.reshape(-1, 10), score[kept, None]], axis=1)
    return rows.astype(np.float32)


def _face(row: NDArray[np.float32], scale: NDArray[np.float32], width: int, height: int) -> Face:
    x1, y1 = row[:2] * scale
    x2, y2 = (row[:2] + row[2:4]) * scale
    x1, x2 = np.clip((x1, x2), 0, width)
    y1, y2 = np.clip((y1, y2), 0, height)
    return Face((float(x1), float(y1), float(x2), float(y2)), float(row[14]), row[4:14].reshape(5, 2) * scale)
