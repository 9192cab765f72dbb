"""What the detector's quick look saves and what it misses, on scenes with faces of known size.

    python benchmarks/detection.py --data ../shared/data

UTKFace faces are pasted at seeded places and sizes into photos of scikit-image without a face. Writes
results/detection.csv: recall by size of face, false faces, and milliseconds a photo, all in one run.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from threeages.faces.crop import Box, Face, iou
from threeages.faces.detect import MIN_SCORE, find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import FULL_SIDE, QUICK_SIDE, YuNet
from threeages.files import write_rows

SCENES = 150
SIZES = ((12, 16), (16, 24), (24, 40), (40, 80), (80, 200))  # pixels of a face's width in a 640x480 photo
BACKGROUNDS = ("coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")
FACE_IN_CHIP = (0.2, 0.2, 0.8, 0.9)  # where the face lies in an aligned UTKFace image
Looks = dict[str, Callable[[Pixels], list[Face]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("results/detection.csv"))
    args = parser.parse_args()
    detector = YuNet()
    looks: Looks = {
        "two looks": detector.detect,
        f"one look at {FULL_SIDE}": lambda x: detector.detect_at(x, FULL_SIDE, MIN_SCORE),
        f"one look at {QUICK_SIDE}": lambda x: detector.detect_at(x, QUICK_SIDE, MIN_SCORE),
    }
    rng = np.random.default_rng(0)
    chips = _sample(args.data / "utkface", rng, 200)
    scenes = [_draw_scene(chips, rng, faces=int(rng.integers(1, 5)), sides=(24, 210)) for _ in range(SCENES)]
    portraits = [_draw_scene(chips, rng, faces=1, sides=(110, 210)) for _ in range(SCENES)]
    film = _sample(args.data / "faces-age-detection" / "Train", rng, 300)
    rows = [{"look": name} | _measure(look, scenes, portraits, film) for name, look in looks.items()]
    write_rows(args.out, rows)
    for row in rows:
        print(row)


def _sample(folder: Path, rng: np.random.Generator, n: int) -> list[Pixels]:
    files = sorted(folder.rglob("*.jpg"))
    return [load_image(files[i]) for i in rng.choice(len(files), n, replace=False)]


def _draw_scene(
    chips: list[Pixels], rng: np.random.Generator, *, faces: int, sides: tuple[int, int]
) -> tuple[Pixels, list[Box]]:
    """A 640x480 photo with that many faces, each in a cell of its own, and their boxes."""
    folder = Path(skimage.data.__file__).parent
    photo = cv2.resize(load_image(folder / str(rng.choice(BACKGROUNDS))), (640, 480))
    boxes = []
    for cell in rng.permutation(6)[:faces]:
        side = int(np.exp(rng.uniform(*np.log(sides))))
        chip = cv2.resize(chips[rng.integers(len(chips))], (side, side), interpolation=cv2.INTER_AREA)
        x = cell % 3 * 213 + int(rng.integers(0, 214 - side))
        y = cell // 3 * 240 + int(rng.integers(0, 241 - side))
        photo[y : y + side, x : x + side] = chip
        x1, y1, x2, y2 = (share * side for share in FACE_IN_CHIP)
        boxes.append((x + x1, y + y1, x + x2, y + y2))
    return np.asarray(photo, dtype=np.uint8), boxes


def _measure(
    look: Callable[[Pixels], list[Face]],
    scenes: list[tuple[Pixels, list[Box]]],
    portraits: list[tuple[Pixels, list[Box]]],
    film: list[Pixels],
) -> dict[str, str]:
    widths, found, false = [], [], 0
    for photo, boxes in scenes:
        faces = look(photo)
        widths += [box[2] - box[0] for box in boxes]
        found += [any(iou(box, face.box) > 0.3 for face in faces) for box in boxes]
        false += sum(all(iou(box, face.box) < 0.2 for box in boxes) for face in faces)
    row = {}
    for low, high in SIZES:
        chosen = [hit for width, hit in zip(widths, found, strict=True) if low <= width < high]
        row[f"recall {low}-{high} px"] = f"{np.mean(chosen):.3f}"
    crops = _Only(look)
    return row | {
        "faces": str(len(found)),
        "false": str(false),
        "film crops taken as faces": f"{np.mean([bool(find_faces(crop, crops)) for crop in film]):.3f}",
        "portrait ms": f"{_milliseconds(look, [photo for photo, _ in portraits]):.1f}",
        "scene ms": f"{_milliseconds(look, [photo for photo, _ in scenes]):.1f}",
    }


class _Only:
    """A detector with one way of looking; padded crops, 320 pixels large, go to YuNet as they are."""

    def __init__(self, look: Callable[[Pixels], list[Face]]) -> None:
        self._look, self._padded = look, YuNet()

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        return self._look(pixels) if min_score == MIN_SCORE else self._padded.detect(pixels, min_score)


def _milliseconds(look: Callable[[Pixels], list[Face]], photos: list[Pixels]) -> float:
    times = []
    for photo in photos:
        start = time.perf_counter()
        look(photo)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
