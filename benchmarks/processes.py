"""Training in two processes of one thread each, beside one process with two threads.

python benchmarks/processes.py [--rounds 3] [--images 640] [--batch-size N] [--recipe reference-cnn]

Both are `threeages train` with the same batches, in turn; what counts is the last epoch of each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from itertools import count
from pathlib import Path

from common import CNNS, SCALE, add_row, alternate, load_faces, read_rate

from threeages.data.manifest import save_manifest
from threeages.studies.recipes import create_recipe

EPOCHS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", choices=CNNS, default="reference-cnn")
    parser.add_argument("--images", type=int, default=640, help="some of them are held out")
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    batch_size = args.batch_size or create_recipe(args.recipe).batch_size
    with tempfile.TemporaryDirectory() as name:
        folder, turn = Path(name), count()
        manifest, origin = load_faces(args.images, folder)
        faces = folder / "faces.csv"
        save_manifest(manifest, faces)

        def train(devices: int, threads: int) -> float:
            run = folder / f"run-{next(turn)}"
            given = ["train", str(faces), "--out", str(run), "--cache-dir", str(folder / "cache")]
            options = ["--recipe", args.recipe, "--epochs", str(EPOCHS), "--devices", str(devices)]
            options += ["--batch-size", str(batch_size)]
            subprocess.run(
                [sys.executable, "-m", "threeages", *given, *options],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                capture_output=True,
                check=True,
            )
            return read_rate(run)

        ours, other = alternate(lambda: train(2, 1), lambda: train(1, 2), args.rounds)
    add_row(
        "train --devices 2",
        f"{CNNS[args.recipe]}, batch {batch_size}, one thread each",
        "images/s",
        ours,
        other=("one process, two threads", other),
        ratio=ours / other,
        details=f"{args.images} {origin}, epoch {EPOCHS}, median of {args.rounds} in turn",
        versions={"torch": version("torch")},
        results=SCALE,
    )


if __name__ == "__main__":
    main()
