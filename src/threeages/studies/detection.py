"""What the detector's first pass at a small size saves and what it misses.

    python -m threeages.studies.detection --data DATA

UTKFace faces are pasted at random places and sizes into scikit-image's photos without a face. Writes
results/detection.csv: recall by the size of a face, false detections, and milliseconds a photo.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from threeages.faces.crop import Box, Face, iou
from threeages.faces.detect import MIN_SCORE, find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import FULL_SIDE, QUICK_SIDE, YuNet
from threeages.studies.results import Row, create_parser, save_rows

SCENES, CHIPS, CROPS = 150, 200, 300
SIZES = ((12, 16), (16, 24), (24, 40), (40, 80), (80, 200))  # pixels of a face's width in a 640x480 photo
BACKGROUNDS = ("coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")
FACE_IN_CHIP = (0.2, 0.2, 0.8, 0.9)  # where the face lies in an aligned UTKFace image
FOUND, FALSE = 0.3, 0.2  # intersection over union from which a face is found, and below which one is false
SEED = 0

Look = Callable[[Pixels], list[Face]]
Scene = tuple[Pixels, list[Box]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every way of detecting on the same scenes and write a row for each."""
    parser = create_parser(__doc__, Path("results/detection.csv"))
    parser.add_argument("--data", type=Path, required=True, help="folder of utkface and faces-age-detection")
    args = parser.parse_args(arguments)
    detector, rng = YuNet(), np.random.default_rng(SEED)
    looks: dict[str, Look] = {
        "two looks": detector.detect,
        f"one look at {FULL_SIDE}": lambda x: detector.detect_at(x, FULL_SIDE, MIN_SCORE),
        f"one look at {QUICK_SIDE}": lambda x: detector.detect_at(x, QUICK_SIDE, MIN_SCORE),
    }
    chips = _sample(args.data / "utkface", rng, CHIPS)
    scenes = [
        compose_scene(chips, rng, num_faces=int(rng.integers(1, 5)), sides=(24, 210)) for _ in range(SCENES)
    ]
    portraits = [compose_scene(chips, rng, num_faces=1, sides=(110, 210)) for _ in range(SCENES)]
    crops = _sample(args.data / "faces-age-detection" / "Train", rng, CROPS)
    save_rows(args.out, [{"look": n} | _measure(look, scenes, portraits, crops) for n, look in looks.items()])


def _sample(folder: Path, rng: np.random.Generator, n: int) -> list[Pixels]:
    files = sorted(folder.rglob("*.jpg"))
    return [load_image(files[i]) for i in rng.choice(len(files), n, replace=False)]


def compose_scene(
    chips: Sequence[Pixels], rng: np.random.Generator, *, num_faces: int, sides: tuple[int, int]
) -> Scene:
    """uint8 `(480, 640, 3)` with faces of random sides, each in a cell of its own, and their boxes (xyxy)."""
    folder = Path(skimage.data.__file__).parent
    photo = cv2.resize(load_image(folder / str(rng.choice(BACKGROUNDS))), (640, 480))
    boxes = []
    for cell in rng.permutation(6)[:num_faces]:
        side = int(np.exp(rng.uniform(*np.log(sides))))
        chip = cv2.resize(chips[int(rng.integers(len(chips)))], (side, side), interpolation=cv2.INTER_AREA)
        x = cell % 3 * 213 + int(rng.integers(0, 214 - side))
        y = cell // 3 * 240 + int(rng.integers(0, 241 - side))
        photo[y : y + side, x : x + side] = chip
        x1, y1, x2, y2 = (share * side for share in FACE_IN_CHIP)
        boxes.append((x + x1, y + y1, x + x2, y + y2))
    return np.asarray(photo, dtype=np.uint8), boxes


def _measure(look: Look, scenes: list[Scene], portraits: list[Scene], crops: list[Pixels]) -> Row:
    hits, false = _match(look, scenes)
    detector = _OneLook(look)
    return _recalls(hits) | {
        "faces": str(len(hits)),
        "false": str(false),
        "film crops taken as faces": f"{np.mean([bool(find_faces(crop, detector)) for crop in crops]):.3f}",
        "portrait ms": f"{_milliseconds(look, [photo for photo, _ in portraits]):.1f}",
        "scene ms": f"{_milliseconds(look, [photo for photo, _ in scenes]):.1f}",
    }


def _match(look: Look, scenes: list[Scene]) -> tuple[list[tuple[float, bool]], int]:
    """Of every true face its width and whether it was found; and how many detections are false."""
    hits, false = [], 0
    for photo, boxes in scenes:
        faces = look(photo)
        hits += [(box[2] - box[0], any(iou(box, face.box) > FOUND for face in faces)) for box in boxes]
        false += sum(all(iou(box, face.box) < FALSE for box in boxes) for face in faces)
    return hits, false


def _recalls(hits: list[tuple[float, bool]]) -> Row:
    row = {}
    for low, high in SIZES:
        found = [hit for width, hit in hits if low <= width < high]
        row[f"recall {low}-{high} px"] = f"{np.mean(found):.3f}" if found else ""
    return row


class _OneLook:
    """A detector with one way of looking; padded crops, 320 pixels large, go to YuNet as they are."""

    def __init__(self, look: Look) -> None:
        self._look, self._padded = look, YuNet()

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        return self._look(pixels) if min_score == MIN_SCORE else self._padded.detect(pixels, min_score)


def _milliseconds(look: Look, photos: list[Pixels]) -> float:
    """The median time of one photo."""
    times = []
    for photo in photos:
        start = time.perf_counter()
        look(photo)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
