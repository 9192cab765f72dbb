"""How turned faces are answered, how many faces of a crowd are found, and what both cost.

    python -m threeages.studies.turned --data DATA --crowds results/crowds.csv

UTKFace faces and portraits are turned by 90, 180 and 270 degrees: as they are, and inside a border that
repeats the edge pixels. Each answer is compared with that of the same image upright. Crowds are UTKFace faces
in a grid of a 24-megapixel photo. Writes results/turned.csv and results/crowds.csv.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from threeages.faces import detect
from threeages.faces.crop import Box, Face, iou
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YuNet
from threeages.inference.predictor import Predictor, load_predictor
from threeages.inference.prepare import DECODED_SIDE
from threeages.inference.records import OK
from threeages.studies.detection import FACE_IN_CHIP, FOUND, compose_scene
from threeages.studies.results import Row, create_parser, save_rows

FACES, SCENES, ROUNDS = 1000, 100, 8
BORDER = 0.5  # of an image's longer side, on each side
CROWD_SIZE = (6000, 4000)  # width and height in pixels
CROWDS = ((100, 600), (60, 600), (100, 20), (200, 100))  # width of a face in pixels, number of faces
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure turned faces and crowds and write a table of each."""
    parser = create_parser(__doc__, Path("results/turned.csv"))
    parser.add_argument("--data", type=Path, required=True, help="folder of utkface and portraits")
    parser.add_argument("--crowds", type=Path, default=Path("results/crowds.csv"), help="second csv to write")
    parser.add_argument("--faces", type=int, default=FACES, help=f"images of each kind (default: {FACES})")
    args = parser.parse_args(arguments)
    rng, predictor = np.random.default_rng(SEED), load_predictor()
    chips, portraits = (_sample(args.data / name, rng, args.faces) for name in ("utkface", "portraits"))
    kinds = {"UTKFace": chips, "UTKFace, border": map(_add_border, chips), "portraits": portraits}
    rows = [row for kind, images in kinds.items() for row in _measure_turns(kind, images, predictor)]
    scenes = [compose_scene(chips, rng, num_faces=1, sides=(110, 210))[0] for _ in range(SCENES)]
    empty = [compose_scene(chips, rng, num_faces=0, sides=(110, 210))[0] for _ in range(SCENES // 5)]
    for kind, photos in (("portraits", portraits[:SCENES]), ("one face", scenes), ("no face", empty)):
        rows.append({"images": f"upright: {kind}", "n": str(len(photos))} | _measure_cost(photos))
    seed = {"seed": str(SEED)}
    save_rows(args.out, [row | seed for row in rows])
    save_rows(args.crowds, [_measure_crowd(chips, rng, *size) | seed for size in CROWDS])


def compose_crowd(
    chips: Sequence[Pixels], rng: np.random.Generator, size: tuple[int, int], width: int, num_faces: int
) -> tuple[Pixels, list[Box]]:
    """A photo of `size` (width, height) with a grid of faces `width` pixels wide, and their boxes (xyxy)."""
    photo = np.full((size[1], size[0], 3), 120, dtype=np.uint8)
    x1, y1, x2, y2 = FACE_IN_CHIP
    side = round(width / (x2 - x1))
    columns = int(np.ceil(np.sqrt(num_faces * size[0] / size[1])))
    cell = (size[0] // columns, size[1] // -(-num_faces // columns))
    boxes = []
    for i in range(num_faces):
        x, y = (
            n * c + int(rng.integers(0, max(c - side, 0) + 1))
            for n, c in zip((i % columns, i // columns), cell, strict=True)
        )
        chip = cv2.resize(chips[int(rng.integers(len(chips)))], (side, side), interpolation=cv2.INTER_AREA)
        photo[y : y + side, x : x + side] = chip[: size[1] - y, : size[0] - x]
        boxes.append((x + x1 * side, y + y1 * side, x + x2 * side, y + y2 * side))
    return photo, boxes


def _sample(folder: Path, rng: np.random.Generator, n: int) -> list[Pixels]:
    files = sorted(folder.rglob("*.jpg"))
    return [load_image(files[i]) for i in rng.choice(len(files), min(n, len(files)), replace=False)]


def _add_border(pixels: Pixels) -> Pixels:
    border = round(BORDER * max(pixels.shape[:2]))
    grown = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REPLICATE)
    return np.asarray(grown, dtype=np.uint8)


def _measure_turns(kind: str, images: Iterable[Pixels], predictor: Predictor) -> list[Row]:
    """A row a turn: of the images with an upright answer, the shares of equal, other and no answers."""
    counts = {turns: Counter[str]() for turns in (1, 2, 3)}
    for pixels in images:
        upright = next(iter(predictor.predict([pixels])))
        if upright.status != OK:
            continue
        for turns, count in counts.items():
            found = next(iter(predictor.predict([np.ascontiguousarray(np.rot90(pixels, turns))])))
            same = "as upright" if found.age_group == upright.age_group else "different"
            count[same if found.status == OK else "abstained"] += 1
            count["turned"] += found.status == "turned"
            count["exact"] += found.probs == upright.probs
    return [
        {
            "images": kind,
            "turn": f"{90 * turns}",
            "n": str(n := count.total() - count["turned"] - count["exact"]),
        }
        | {name: f"{count[name] / max(n, 1):.4f}" for name in ("as upright", "different", "abstained")}
        | {"same probabilities": f"{count['exact'] / max(n, 1):.4f}", "status turned": str(count["turned"])}
        for turns, count in counts.items()
    ]


def _measure_cost(photos: list[Pixels]) -> Row:
    """Milliseconds of the prediction of a JPEG, and of the search with and without looks at turned faces."""
    detector, predictor = YuNet(), load_predictor()
    ways: tuple[Callable[[Pixels], object], ...] = (
        lambda pixels: _search_upright(pixels, detector),
        lambda pixels: detect.find_faces(pixels, detector),
    )
    plain, turned, whole = (
        np.mean(column)
        for column in zip(
            *([*_best(ways, x), *_best([_predict(x, predictor)], x)] for x in photos), strict=True
        )
    )
    extra = turned - plain
    return {
        "plain search ms": f"{plain:.3f}",
        "search ms": f"{turned:.3f}",
        "prediction ms": f"{whole:.3f}",
        "extra share": f"{extra / (whole - extra):.4f}",
    }


def _predict(pixels: Pixels, predictor: Predictor) -> Callable[[Pixels], object]:
    data = cv2.imencode(".jpg", pixels[:, :, ::-1])[1].tobytes()
    return lambda _: list(predictor.predict([data]))


def _best(ways: Sequence[Callable[[Pixels], object]], pixels: Pixels) -> list[float]:
    """The least milliseconds of each way over ROUNDS, in which they go first by turns."""
    times: list[list[float]] = [[] for _ in ways]
    for i in range(ROUNDS):
        for way in sorted(range(len(ways)), reverse=bool(i % 2)):
            times[way].append(_milliseconds(ways[way], pixels))
    return [min(found) for found in times]


def _search_upright(pixels: Pixels, detector: YuNet) -> list[Face]:
    """The search as it is without any look at turned faces."""
    return detector.detect(pixels) or detect._find_padded(pixels, detector)


def _milliseconds(function: Callable[[Pixels], object], pixels: Pixels) -> float:
    """Processor time of one call."""
    start = time.process_time()
    function(pixels)
    return (time.process_time() - start) * 1e3


def _measure_crowd(chips: list[Pixels], rng: np.random.Generator, width: int, num_faces: int) -> Row:
    photo, boxes = compose_crowd(chips, rng, CROWD_SIZE, width, num_faces)
    preparer, detector = load_predictor().preparer, YuNet()
    data = cv2.imencode(".jpg", photo[:, :, ::-1])[1].tobytes()
    small = load_image(data, target=DECODED_SIDE)  # as the preparer decodes it

    def look_once(_: Pixels) -> object:
        return detect.find_faces(load_image(data, target=DECODED_SIDE), detector)

    scale = max(photo.shape[:2]) / max(small.shape[:2])
    once = [tuple(value * scale for value in face.box) for face in detect.find_faces(small, detector)]
    tiled = [face.box for face in preparer.prepare("", data).faces]
    found = {
        name: sum(any(iou(box, other) > FOUND for other in others) for box in boxes)
        for name, others in (("found at one look", once), ("found", tiled))
    }
    return {
        "faces": str(num_faces),
        "face px": str(width),
        "photo": "{}x{}".format(*CROWD_SIZE),
        **{name: str(n) for name, n in found.items()},
        "other boxes": str(len(tiled) - found["found"]),
        "one look ms": f"{_milliseconds(look_once, small):.0f}",
        "ms": f"{_milliseconds(lambda _: preparer.prepare('', data), small):.0f}",
    }


if __name__ == "__main__":
    main()
