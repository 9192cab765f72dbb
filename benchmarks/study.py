"""Transfer learning, ours against Keras:   python benchmarks/study.py --keras-python PATH [--epochs 10].

Both phases with all their epochs on the same images, from the first to the last second, which here includes
computing the frozen part and judging every epoch. PATH is as in training.py. Weights are random on both
sides: they do not change the speed.
"""

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np
from common import add_row, alternate, load_faces

from threeages.data.cache import open_cache
from threeages.data.split import create_split
from threeages.recipes import create_recipe
from threeages.training.run import train

RECIPES = ("scaled-mobilenet-v2", "scaled-resnet50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras-python", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="default: both")
    parser.add_argument("--images", type=int, default=640, help="a fifth of them is held out")
    parser.add_argument("--epochs", type=int, default=10, help="of each phase")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    for recipe in args.recipe or RECIPES:
        measure(recipe, args)


def measure(recipe: str, args: argparse.Namespace) -> None:
    config = replace(create_recipe(recipe), weights="random", epochs=args.epochs, head_epochs=args.epochs)
    with tempfile.TemporaryDirectory() as name:
        folder, turn, other = Path(name), count(), {}
        manifest, origin = load_faces(args.images, folder)
        cache = open_cache(manifest, config.input_size, folder=folder)
        rows = create_split(manifest, cache.digests, config.split, seed=config.seed).train
        np.save(folder / "pixels.npy", cache.pixels[rows])
        np.save(folder / "labels.npy", manifest.labels[rows])

        def ours() -> float:
            for file in folder.glob("prefix-*.npy"):
                file.unlink()
            start = time.perf_counter()
            train(manifest, config, folder / f"run-{next(turn)}", cache_dir=folder)
            return time.perf_counter() - start

        def keras() -> float:
            files = [str(folder / "pixels.npy"), str(folder / "labels.npy")]
            script = str(Path(__file__).with_name("keras_transfer.py"))
            command = [str(args.keras_python), script, *files, config.model, str(config.batch_size)]
            done = subprocess.run([*command, str(args.epochs)], capture_output=True, text=True, check=True)
            other.update(json.loads(done.stdout.splitlines()[-1]))
            return float(other["seconds"])

        fast, slow = alternate(ours, keras, args.rounds)
        add_row(
            "study",
            f"{recipe}, both phases of {args.epochs} epochs",
            "seconds",
            fast,
            other=("Keras", slow),
            ratio=slow / fast,
            details=f"{len(rows)} {origin}, 128 px, median of {args.rounds} in turn",
            versions={"torch": version("torch"), "tensorflow": other["tensorflow"]},
        )


if __name__ == "__main__":
    main()
