"""What tests/training/test_ranks.py runs in every process: trainings whose whole result is kept.

Computed in float64: Adam makes differences out of rounding that hide what is really different.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from threeages.data.manifest import Manifest, load_manifest
from threeages.training import batches, loop
from threeages.training.build import create_data, create_model, create_task, open_data
from threeages.training.config import TrainConfig
from threeages.training.placement import find_placement
from threeages.training.ranks import Ranks, open_ranks

# batch norm and dropout, mirrored and augmented images, averaged weights, balanced rows, a head that few rows
# know; 80 train rows in batches of 13 leave two rows for the last
BUSY = TrainConfig(
    model="attention_cnn",
    input_size=32,
    batch_size=13,
    epochs=2,
    flip=True,
    augmented_copies=2,
    ema=0.9,
    lr_decay=0.5,
    balance="identity,source",
    extra_heads={"years": 0.5, "gender": 0.3},
)
CONFIGS = {
    "busy": BUSY,
    # the head phase with every stage frozen, and the one behind it
    "frozen": replace(
        BUSY, flip=False, head_epochs=1, epochs=1, unfreeze=2, batch_size=11, frozen_cache=False
    ),
    "plain": TrainConfig(model="cnn", input_size=48, batch_size=16, epochs=2, head="corn"),
}


def run_one(csv: Path, name: str, config: TrainConfig, folder: Path, ranks: Ranks) -> None:
    """Train, each process into a folder of its own, in which the first alone may write."""
    manifest, cache = hide_most(load_manifest(csv)), folder.parent / "cache"
    model = create_model(config, manifest)
    with ranks.in_turns():
        images, split = open_data(manifest, config, cache)
    data = create_data(manifest, model, images, cache)
    task, data = create_task(model, manifest, config, split, data, cache)
    history = list(
        loop.train_epochs(task, data, split, config, folder / f"{name}-run-{ranks.rank}", ranks=ranks)
    )
    source = loop.open_source(task.model, data, config.phases()[-1], config)
    outputs = batches.compute_outputs(ranks.create_fabric(), task, source, split.test[:3], ranks)
    found = {
        "history": history,
        "train rows": len(split.train),
        "batch size": config.batch_size,
        "outputs": {name: values.tolist() for name, values in outputs.items()},
        "weights": {name: values.sum().item() for name, values in task.state_dict().items()},
    }
    (folder / f"{name}-{ranks.rank}.json").write_text(json.dumps(found))


def hide_most(manifest: Manifest) -> Manifest:
    """A gender for 5 rows alone, so that most batches have none, no age in half of them, few labels."""
    n = len(manifest)
    gender = tuple("mf"[i // 24 % 2] if i % 24 == 5 else "" for i in range(n))
    age = tuple(a if i % 2 else "" for i, a in enumerate(manifest.columns["age"]))
    labels = np.where(np.arange(n) % 3 == 0, -1, manifest.labels)
    return Manifest(manifest.root, manifest.paths, labels, {**manifest.columns, "gender": gender, "age": age})


def main() -> None:
    """Train everything with as many processes as there are."""
    csv, folder, devices = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    loop.choose_precision = lambda _: "64-true"
    with open_ranks(find_placement(devices), lambda _: os._exit(9)) as ranks:
        for name, config in CONFIGS.items():
            run_one(csv, name, config, folder, ranks)


if __name__ == "__main__":
    main()
