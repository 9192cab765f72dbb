"""CNN training, ours against Keras:   python benchmarks/training.py --keras-python PATH [--rounds 3].

PATH is the Python of an environment of its own, such as:
python -m venv keras; keras/bin/pip install 'tensorflow==2.21.*'
"""

import argparse
import json
import subprocess
import tempfile
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from common import CNNS, SCALE, add_row, alternate, load_faces, read_rate

from threeages.data.cache import open_cache
from threeages.data.split import create_split
from threeages.studies.recipes import create_recipe
from threeages.training.malloc import keep_freed_memory
from threeages.training.run import run_training

EPOCHS = 2  # the last one counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keras-python", type=Path, required=True)
    parser.add_argument("--recipe", choices=CNNS, action="append", help="default: both")
    parser.add_argument("--images", type=int, default=640, help="a fifth of them is held out")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()  # as `threeages train` does
    for recipe in args.recipe or CNNS:
        measure(recipe, args)


def measure(recipe: str, args: argparse.Namespace) -> None:
    config = replace(create_recipe(recipe), epochs=EPOCHS)
    with tempfile.TemporaryDirectory() as name:
        folder, turn = Path(name), count()
        other: dict[str, Any] = {}
        manifest, origin = load_faces(args.images, folder)
        cache = open_cache(manifest, config.input_size, folder=folder)
        rows = create_split(manifest, cache.digests, config.split, seed=config.seed).train
        np.save(folder / "pixels.npy", cache.pixels[rows])
        np.save(folder / "labels.npy", manifest.labels[rows])

        def ours() -> float:
            run = folder / f"run-{next(turn)}"
            run_training(manifest, config, run, cache_dir=folder)
            return read_rate(run)

        def keras() -> float:
            files = [str(folder / "pixels.npy"), str(folder / "labels.npy")]
            script = str(Path(__file__).with_name("keras_cnn.py"))
            command = [
                str(args.keras_python),
                script,
                *files,
                config.model,
                str(config.batch_size),
                str(EPOCHS),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            other.update(json.loads(done.stdout.splitlines()[-1]))
            return float(other["images_per_second"])

        fast, slow = alternate(ours, keras, args.rounds)
        details = f"{len(rows)} {origin}, {config.input_size} px, second epoch, seed {config.seed}"
        add_row(
            "training",
            f"{CNNS[recipe]}, batch {config.batch_size}",
            "images/s",
            fast,
            other=("Keras", slow),
            ratio=fast / slow,
            details=f"{details}, median of {args.rounds} in turn",
            versions={"torch": version("torch"), "tensorflow": other["tensorflow"]},
            results=SCALE,
        )


if __name__ == "__main__":
    main()
