"""Adapter of deepface 0.0.103 (MIT; its files have terms of their own): pip install deepface tf-keras.

--files is what deepface calls its home: FILES/.deepface/weights/age_model_weights.h5.
"""

import os
from pathlib import Path

from adapter import Answer, Predict, load_package, run

NEEDED = (".deepface/weights/age_model_weights.h5",)


def load(files: Path) -> Predict:
    os.environ["DEEPFACE_HOME"] = str(files.resolve())  # read when it is imported
    deepface = load_package("deepface.DeepFace", "pip install deepface tf-keras")

    def predict(path: str) -> Answer:
        faces = deepface.analyze(path, actions=("age",), enforce_detection=False, silent=True)
        largest = max(faces, key=lambda face: face["region"]["w"] * face["region"]["h"])
        return Answer(float(largest["age"]), found=largest["face_confidence"] > 0)

    return predict


if __name__ == "__main__":
    run(load, NEEDED)
