"""Adapter of apmoe 0.1.8 (MIT), whose files are in its wheel: pip install apmoe, in its own environment.

Its pipeline of the modality `image` with its expert of faces; it has no detector and takes every image whole.
"""

from pathlib import Path

from adapter import Answer, Predict, load_package, run

INSTALL = "pip install apmoe (Python 3.11 or 3.12)"


def load(files: Path) -> Predict:
    weights = Path(str(load_package("apmoe", INSTALL).__file__)).parent / "weights" / "face_age_expert.keras"
    processor = load_package("apmoe.modality.builtin.image", INSTALL).ImageProcessor()
    cleaner = load_package("apmoe.processing.builtin.image_cleaners", INSTALL).ImageCleaner()
    expert = load_package("apmoe.experts.builtin", INSTALL).FaceAgeExpert()
    expert.load_weights(str(weights))

    def predict(path: str) -> Answer:
        cleaned = cleaner.clean(processor.preprocess(path))
        return Answer(expert.predict({"image": cleaned}).predicted_age, found=None)

    return predict


if __name__ == "__main__":
    run(load)
