"""What a task is given: images, or the features of frozen stages, in batches with their targets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.split import Rows, Split
from threeages.data.stored.opening import FEATURES_FOLDER
from threeages.errors import ConfigError, format_count
from threeages.models.classifier import Classifier
from threeages.models.heads import MAIN
from threeages.training.checks import normalizes_batches
from threeages.training.compiling import run_uncompiled
from threeages.training.config import Phase, TrainConfig
from threeages.training.device_rows import keep_rows, mirror_images, read_rows
from threeages.training.frozen import FeatureSource, open_features
from threeages.training.losses import Targets
from threeages.training.ranks import Ranks

EVAL_BATCH = 128


@dataclass(frozen=True)
class TrainingData:
    """uint8 `pixels` `(copies * n, size, size, 3)`, `targets` `(n, ...)` by name, a `key` of the images.

    Train rows are drawn in proportion to their `weights` `(n,)`, each once an epoch where there are none.
    """

    pixels: NDArray[np.uint8]
    targets: Targets
    key: bytes
    folder: Path = FEATURES_FOLDER
    weights: NDArray[np.float64] | None = None


def open_source(model: Classifier, data: TrainingData, phase: Phase, config: TrainConfig) -> FeatureSource:
    """The frozen stages' features where nothing before them changes from epoch to epoch, else pixels.

    Those of a later phase, which freezes fewer stages, come first: the rest is computed from them.
    """
    source = FeatureSource(data.pixels)
    if config.flip or not config.frozen_cache:
        return source
    for depth in sorted({frozen_stages(model, p) for p in (phase, config.phases()[-1])} - {0}):
        if depth <= frozen_stages(model, phase):
            source = open_features(model, source, data.key, depth, data.folder, config.max_cache_gb)
    return source


def keep_on_device(
    source: FeatureSource, data: TrainingData, split: Split, copies: int, device: torch.device
) -> FeatureSource:
    """The source with the rows of a training, all their copies included, on a GPU where they fit."""
    count = len(data.targets[MAIN])
    train = [split.train + count * copy for copy in range(copies)]
    rows = np.concatenate([*train, split.validation])
    return replace(source, kept=keep_rows(source.values, rows, device))


def frozen_stages(model: Classifier, phase: Phase) -> int:
    """How many stages the phase freezes: with the pooling all of them where `unfreeze` is 0.

    Raises ConfigError where the model has fewer stages than the phase is to train.
    """
    blocks = len(model.net.stages) - 1  # the last stage is the pooling
    if phase.unfreeze is None:
        return 0
    if phase.unfreeze == 0:
        return blocks + 1
    if phase.unfreeze > blocks:
        raise ConfigError(
            f"unfreeze is {phase.unfreeze}; {model.signature.name} has {format_count(blocks, 'stage')}.",
            hint="Give fewer.",
        )
    return blocks - phase.unfreeze


def compute_outputs(
    fabric: Fabric, net: nn.Module, source: FeatureSource, rows: Rows, ranks: Ranks | None = None
) -> dict[str, Tensor]:
    """float32 outputs `(len(rows), ...)` by name, on the CPU; every one of the `ranks` computes a part."""
    ranks = ranks or Ranks()
    net.eval()
    own = rows[ranks.take(len(rows))]
    with torch.inference_mode(), run_uncompiled():
        parts = [net(*read_batch(fabric, source, batch)) for batch in split_rows(own, EVAL_BATCH)]
    outputs = {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}
    return ranks.gather(outputs, len(rows))


def read_batch(
    fabric: Fabric, source: FeatureSource, rows: Rows, mirror: NDArray[np.bool_] | None = None
) -> tuple[Tensor, int]:
    """What the task takes for a batch: pixels or features, and the stage they enter."""
    x = read_rows(source.values, source.kept, rows, fabric.device)
    if mirror is not None:
        x = mirror_images(x, mirror)
    return (x.float() if source.depth else x), source.depth


def order_rows(data: TrainingData, rows: Rows, rng: np.random.Generator) -> Rows:
    """The train rows of one epoch in a random order, as many as `rows`."""
    if data.weights is None:
        return rng.permutation(rows)
    weights = data.weights[rows]
    return rng.choice(rows, len(rows), p=weights / weights.sum())


def sample_copies(batch: Rows, num_images: int, copies: int, rng: np.random.Generator) -> Rows:
    """For each image of the batch the row of one of its copies, which stand behind one another."""
    if copies == 1:
        return batch
    return batch + num_images * rng.integers(copies, size=len(batch))


def split_rows(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in parts of `size`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def split_train_rows(rows: Rows, size: int, model: nn.Module) -> Iterator[Rows]:
    """Parts of `size`; one row alone joins the part before where the network normalizes over a batch."""
    if len(rows) % size == 1 and len(rows) > size and normalizes_batches(model):
        yield from split_rows(rows[: -size - 1], size)
        yield rows[-size - 1 :]
    else:
        yield from split_rows(rows, size)
