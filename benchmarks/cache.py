"""Cache building against a plain Pillow loop:   python benchmarks/cache.py [--images 4000] [--rounds 3]."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from common import add_row, alternate, load_faces
from PIL import Image

from threeages.data.cache import open_cache

SIZE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, origin = load_faces(args.images, folder)

        def build() -> float:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            start = time.perf_counter()
            open_cache(manifest, SIZE, folder=folder / "cache")
            return len(manifest) / (time.perf_counter() - start)

        def loop() -> float:
            start = time.perf_counter()
            pixels = np.empty((len(manifest), SIZE, SIZE, 3), dtype=np.uint8)
            for i, file in enumerate(manifest.files()):
                with Image.open(file) as image:
                    pixels[i] = np.asarray(image.convert("RGB").resize((SIZE, SIZE)))
            np.save(folder / "plain.npy", pixels)
            return len(manifest) / (time.perf_counter() - start)

        loop()  # both sides then find the files in the page cache
        ours, plain = alternate(build, loop, args.rounds)
        add_row(
            "cache",
            "building",
            "images/s",
            ours,
            other=("plain Pillow loop", plain),
            ratio=ours / plain,
            details=f"{len(manifest)} {origin} to {SIZE} px, median of {args.rounds}",
        )


if __name__ == "__main__":
    main()
