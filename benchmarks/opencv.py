"""What the core takes of OpenCV, beside the same steps on Pillow and NumPy: time, and pixels that differ.

python benchmarks/opencv.py [--rounds 50]

Pillow's steps are those of the same kind: box for area, bilinear for bilinear. The last row answers photos
with every step replaced.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from common import make_photo
from numpy.typing import NDArray
from PIL import Image

from threeages.faces import crop, images, quality, yunet
from threeages.faces.images import Pixels
from threeages.faces.process import configure_process
from threeages.inference.predictor import load_predictor
from threeages.studies.results import create_parser, save_rows

OUT = Path("results/opencv.csv")
Step = Callable[[], Any]
COSINES = np.sqrt(2 / 64) * np.cos(np.pi * np.outer(np.arange(64), 2 * np.arange(64) + 1) / 128)
COSINES[0] /= np.sqrt(2)


def main() -> None:
    parser = create_parser(__doc__, OUT)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    configure_process()
    rows = [_compare(name, *steps, rounds=args.rounds) for name, steps in _steps().items()]
    save_rows(args.out, [*rows, _compare_photos(args.rounds)])


def _steps() -> dict[str, tuple[Step, Step]]:
    """Each step with OpenCV and without, on a photo of 12 megapixels or a crop of it."""
    photo = images.load_image(make_photo(0))
    large = np.asarray(Image.fromarray(photo).resize((4000, 3000), Image.Resampling.BICUBIC))
    small = images.shrink_image(photo, 320)
    face, part = np.ascontiguousarray(photo[100:400, 150:450]), small[:64, :64]
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    matrix = np.array([[0.42, 0.07, -3.5], [-0.07, 0.42, 6.5]])
    square = (128, 128)
    return {
        "shrink 4000x3000 to 320": (
            lambda: images.scale_image(large, 0.08),
            lambda: scale_image(large, 0.08),
        ),
        "shrink 640x480 to 320": (lambda: images.scale_image(photo, 0.5), lambda: scale_image(photo, 0.5)),
        "enlarge a crop of 64 to 320": (lambda: images.resize(part, 320), lambda: resize(part, 320)),
        "align a face of 300 to 128": (
            lambda: cv2.warpAffine(face, matrix, square, borderMode=cv2.BORDER_REPLICATE),
            lambda: warp(face, matrix, square),
        ),
        "detector's input": (lambda: yunet.create_blob(small), lambda: to_blob(small)),
        "grey of 64x64": (lambda: cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), lambda: to_grey(part)),
        "cosine transform of 64x64": (lambda: cv2.dct(values), lambda: transform(values)),
    }


def resize(pixels: Pixels, size: int) -> Pixels:
    """As images.resize."""
    return _resample(pixels, (size, size), size < min(pixels.shape[:2]))


def scale_image(pixels: Pixels, scale: float) -> Pixels:
    """As images.scale_image."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return _resample(pixels, (width, height), scale < 1)


def _resample(pixels: Pixels, size: tuple[int, int], shrinks: bool) -> Pixels:
    kind = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, kind))


def warp(pixels: Pixels, matrix: NDArray[np.float64], size: tuple[int, int], **_: object) -> Pixels:
    """As cv2.warpAffine with repeated edge pixels; Pillow counts from the corner of a pixel."""
    border = 64
    padded = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="edge")
    inverse = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    inverse[:, 2] += border + 0.5 - inverse[:, :2].sum(axis=1) / 2
    image = Image.fromarray(padded)
    moved = image.transform(size, Image.Transform.AFFINE, inverse.ravel().tolist(), Image.Resampling.BILINEAR)
    return np.asarray(moved)


def to_blob(pixels: Pixels) -> NDArray[np.float32]:
    """As yunet.create_blob."""
    padded = np.pad(pixels, [(0, -side % 32) for side in pixels.shape[:2]] + [(0, 0)])
    return padded[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32, order="C")


def to_grey(pixels: Pixels, *_: object) -> Pixels:
    """As cv2.cvtColor from RGB, in its whole numbers."""
    grey = (pixels.astype(np.int32) @ np.array([4899, 9617, 1868]) + 8192) >> 14
    return np.asarray(grey, dtype=np.uint8)


def transform(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """As cv2.dct."""
    return np.asarray(COSINES @ values @ COSINES.T, dtype=np.float32)


def _compare(name: str, ours: Step, other: Step, *, rounds: int) -> dict[str, str]:
    gap = np.abs(np.asarray(ours(), dtype=np.float64) - np.asarray(other(), dtype=np.float64))
    first, second = _time(ours, other, rounds)
    share = f"{np.mean(gap > 1e-3):.1%} by up to {gap.max():.0f}" if gap.max() > 1e-3 else "none"
    return _row(name, first, second, share)


def _row(name: str, ours: float, other: float, differences: str) -> dict[str, str]:
    times = {"opencv_ms": f"{ours:.2f}", "without_ms": f"{other:.2f}", "times": f"{other / ours:.1f}"}
    return {"step": name} | times | {"differences": differences}


def _time(ours: Step, other: Step, rounds: int) -> tuple[float, float]:
    """Median milliseconds of both, measured in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for step, found in zip((ours, other), seconds, strict=True):
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[0]), 1e3 * statistics.median(seconds[1])


@contextmanager
def _replaced() -> Iterator[None]:
    """Within it the core runs on Pillow and NumPy, but for the overlap of the detector's faces."""
    places: list[tuple[object, str, object]] = [
        (images, "resize", resize), (crop, "resize", resize), (quality, "resize", resize),
        (images, "scale_image", scale_image), (crop, "scale_image", scale_image),
        (cv2, "warpAffine", warp), (cv2, "cvtColor", to_grey), (cv2, "dct", transform),
        (yunet, "create_blob", to_blob),
    ]  # fmt: skip
    with ExitStack() as stack:
        for module, name, step in places:
            stack.enter_context(mock.patch.object(module, name, step))
        yield


def _compare_photos(rounds: int) -> dict[str, str]:
    """A photo of 640x480 from bytes to answer, and by how much probabilities differ on eight of them."""
    predictor, photos = load_predictor(device="cpu"), [make_photo(i) for i in range(8)]

    def answer() -> list[Any]:
        return list(predictor.predict(photos[:1]))

    def without() -> list[Any]:
        with _replaced():
            return answer()

    found = [next(predictor.predict([photo])).to_dict() for photo in photos]
    with _replaced():
        changed = [next(predictor.predict([photo])).to_dict() for photo in photos]
    differ = sum(a != b for a, b in zip(found, changed, strict=True))
    pairs = (
        (a["probs"][name], b["probs"][name])
        for a, b in zip(found, changed, strict=True)
        for name in a["probs"]
    )
    gap = max(abs(a - b) for a, b in pairs)
    note = f"{differ} of {len(found)} records, a probability by up to {gap:.3f}"
    return _row("a photo from bytes to answer", *_time(answer, without, rounds), note)


if __name__ == "__main__":
    main()
