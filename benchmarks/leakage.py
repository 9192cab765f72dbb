"""Near duplicates among generated images, and the leakage audit of a manifest.

    python benchmarks/leakage.py near [--images 200000]
    python benchmarks/leakage.py audit MANIFEST [--face-model FILE]

Seconds and the most memory of the process, written to results/benchmarks.csv.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from common import add_row
from numpy.typing import NDArray

from threeages.data.duplicates import SIDE, find_near_duplicates

COPIES = 0.01  # share of the generated images that are copies of others
LAYERS = (2, 3, 6, 12, 24)  # cells along a side of the noise of which an image is made
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("near", "audit"))
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--face-model", default="none")
    args = parser.parse_args()
    if args.what == "near":
        measure_near(args.images)
    else:
        measure_audit(args.manifest, args.face_model)


def measure_near(images: int) -> None:
    """The search among `images` thumbnails, of which a share are copies of others."""
    thumbnails, planted = generate_thumbnails(images)
    digests = np.arange(2 * images, dtype=np.uint64).view(np.uint8).reshape(-1, 16)
    start, used = time.perf_counter(), time.process_time()
    found = find_near_duplicates(thumbnails, digests, progress=True)
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    recall = np.mean([tuple(pair) in pairs for pair in planted.tolist()])
    details = f"{images} generated images, {len(pairs)} pairs, {recall:.3f} of {len(planted)} copies found"
    _add(f"near duplicates, {images}", wall, f"{details}, {cpu:.0f} s of processor time")


def measure_audit(manifest: Path, face_model: str) -> None:
    """`threeages data leakage` from an empty cache."""
    from threeages.cli.leakage import leakage

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        leakage(manifest, within=None, face_model=face_model, cache_dir=Path(folder))
        wall = time.perf_counter() - start
    rows = len(manifest.read_text(encoding="utf-8").splitlines()) - 1
    faces = "without faces" if face_model == "none" else "with face embeddings"
    _add(f"audit, {rows}, {faces}", wall, f"{rows} images, empty cache")


def generate_thumbnails(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Thumbnails `(count, SIDE, SIDE, 3)` of noise like that of photos; the last ones are copies of others.

    Copies are brighter, mirrored or both; their rows come with those of their originals as pairs `(k, 2)`.
    """
    rng = np.random.default_rng(SEED)
    copies = round(count * COPIES)
    thumbnails = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(count - copies):
        cells = (rng.standard_normal((k, k, 3), dtype=np.float32) * (60 / k**0.5) for k in LAYERS)
        layers = [cv2.resize(each, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for each in cells]
        thumbnails[i] = np.clip(128 + np.sum(layers, axis=0), 0, 255)
    originals = rng.choice(count - copies, copies, replace=False)
    for row, original in enumerate(originals.tolist(), start=count - copies):
        image = thumbnails[original].astype(np.int64) * rng.integers(70, 105) // 100
        thumbnails[row] = np.clip(image[:, ::-1] if row % 2 else image, 0, 255)
    return thumbnails, np.stack([originals, np.arange(count - copies, count)], axis=1)


def _add(measure: str, wall: float, details: str) -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    add_row("leakage", measure, "s", wall, details=f"{details}; this process took {memory:.2f} GB at most")


if __name__ == "__main__":
    main()
