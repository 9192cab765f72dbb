"""The reference study, ours against Keras:   python benchmarks/study.py --keras-python PATH.

All epochs of every model on the same images, from the first to the last second. Ours includes computing the
frozen features and evaluating every epoch, theirs neither the start nor evaluation. PATH is as in
training.py. Weights are random on both sides: they do not change the speed.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from common import add_row, alternate, load_faces

from threeages.data.cache import open_cache
from threeages.data.split import create_split
from threeages.data.stored.opening import FEATURES
from threeages.studies.recipes import create_recipe
from threeages.training.config import TrainConfig
from threeages.training.malloc import keep_freed_memory
from threeages.training.run import run_training

SCRIPTS = {
    "reference-cnn": "keras_cnn.py",
    "reference-attention": "keras_cnn.py",
    "scaled-mobilenet-v2": "keras_transfer.py",
    "scaled-resnet50": "keras_transfer.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras-python", type=Path, required=True)
    parser.add_argument("--recipe", choices=SCRIPTS, action="append", help="default: all, and their sum")
    parser.add_argument("--images", type=int, default=640, help="a fifth of them is held out")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()  # as the commands do
    times = [measure(recipe, args) for recipe in args.recipe or SCRIPTS]
    if not args.recipe:
        ours, keras = (sum(side) for side in zip(*times, strict=True))
        details = "the sum of the models' rows"
        add_row(
            "study",
            "the whole study",
            "seconds",
            ours,
            other=("Keras", keras),
            ratio=keras / ours,
            details=details,
        )


def measure(recipe: str, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds of both sides, ours first."""
    config = create_recipe(recipe)
    transfer = config.head_epochs > 0
    config = replace(config, weights="random" if transfer else None)
    with tempfile.TemporaryDirectory() as name:
        folder, turn = Path(name), count()
        other: dict[str, str] = {}
        manifest, origin = load_faces(args.images, folder)
        cache = open_cache(manifest, config.input_size, folder=folder)
        rows = create_split(manifest, cache.digests, config.split, seed=config.seed).train
        np.save(folder / "pixels.npy", cache.pixels[rows])
        np.save(folder / "labels.npy", manifest.labels[rows])

        def ours() -> float:
            for features in folder.glob(f"{FEATURES}*"):
                shutil.rmtree(features)
            start = time.perf_counter()
            run_training(manifest, config, folder / f"run-{next(turn)}", cache_dir=folder)
            return time.perf_counter() - start

        def keras() -> float:
            other.update(_run_keras(args.keras_python, SCRIPTS[recipe], folder, config))
            return float(other["seconds"])

        fast, slow = alternate(ours, keras, args.rounds)
        epochs = f"both phases of {config.epochs} epochs" if transfer else f"{config.epochs} epochs"
        details = f"{len(rows)} {origin}, {config.input_size} px, seed {config.seed}"
        add_row(
            "study",
            f"{recipe}, {epochs}",
            "seconds",
            fast,
            other=("Keras", slow),
            ratio=slow / fast,
            details=f"{details}, median of {args.rounds} in turn",
            versions={"torch": version("torch"), "tensorflow": other["tensorflow"]},
        )
        return fast, slow


def _run_keras(python: Path, script: str, folder: Path, config: TrainConfig) -> dict[str, str]:
    files = [str(folder / "pixels.npy"), str(folder / "labels.npy")]
    settings = [config.model, str(config.batch_size), str(config.epochs)]
    command = [str(python), str(Path(__file__).with_name(script)), *files, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: str(value) for name, value in found.items()}


if __name__ == "__main__":
    main()
