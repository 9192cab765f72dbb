"""Adapter of uniface 4.2 (MIT; its files have terms of their own): pip install uniface onnxruntime.

--files is what uniface calls its cache: retinaface_mnet_v2.onnx and age_gender.onnx.
"""

import os
from pathlib import Path

from adapter import Answer, Predict, load_package, run

NEEDED = ("retinaface_mnet_v2.onnx", "age_gender.onnx")
INSTALL = "pip install uniface onnxruntime"


def load(files: Path) -> Predict:
    os.environ["UNIFACE_CACHE_DIR"] = str(files.resolve())
    cv2 = load_package("cv2", INSTALL)
    face_class = load_package("uniface.types", INSTALL).Face
    detector = load_package("uniface.detection", INSTALL).RetinaFace()
    model = load_package("uniface.attribute", INSTALL).AgeGender()

    def predict(path: str) -> Answer:
        image = cv2.imread(path)
        height, width = image.shape[:2]
        faces = detector.detect(image)
        whole = face_class(bbox=[0, 0, width, height], confidence=1.0, landmarks=[])
        largest = max(faces, key=lambda face: _area(face.bbox), default=whole)
        return Answer(float(model.predict(image, largest).age), found=bool(faces))

    return predict


def _area(box: list[float]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


if __name__ == "__main__":
    run(load, NEEDED)
