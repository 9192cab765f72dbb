"""Features of a whole manifest, as a run's heads take them or as a recipe's network gives them untrained."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from threeages.data.cache import open_near_duplicates
from threeages.data.manifest import Manifest
from threeages.data.split import Split, create_split
from threeages.data.stored.opening import FEATURES_FOLDER
from threeages.errors import ConfigError
from threeages.models.classifier import Classifier
from threeages.training.build import create_model, open_data, open_pixels
from threeages.training.checkpoint import BEST, load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.frozen import FeatureSource, open_features

POOLED, EMBEDDING = "pooled", "embedding"
BATCH = 1024


@dataclass(frozen=True)
class ManifestFeatures:
    """float32 `values` `(n, d)` of every row, and the splits by identity that they are to be evaluated on.

    `kind` is POOLED, what leaves the pooling of a network that has learned no age, or EMBEDDING, what a
    run's heads take. A run has one split, its own: it was trained on the other rows.
    """

    values: NDArray[np.float32]
    kind: str
    splits: tuple[Split, ...]


def open_manifest_features(
    manifest: Manifest,
    config: TrainConfig,
    run: Path | None = None,
    cache_dir: Path | None = None,
    *,
    split: Split | None = None,
) -> ManifestFeatures:
    """The features of a run's model, or without `run` those of the network that the settings start from.

    `split` is that of a run whose manifest held more rows; without it the run's is made again, of all rows.
    Pixels and pooled features come from the caches that a training of these settings fills, and are computed
    where they are not there. Raises ConfigError where the run was not split by identity, DataError where an
    image cannot be read, and ModelError where the run has no model.
    """
    check_by_identity(config)
    model = load_checkpoint(run / BEST)[0] if run else create_model(config)
    if split is None:
        cache, split = open_data(manifest, config, cache_dir)
    else:
        cache = open_pixels(manifest, config, cache_dir)
    depth = len(model.net.stages)
    folder = cache_dir or FEATURES_FOLDER
    source = open_features(model, FeatureSource(cache.pixels), cache.key, depth, folder, config.max_cache_gb)
    pooled = np.asarray(source.values[: len(manifest)], dtype=np.float32).reshape(len(manifest), -1)
    if run:
        return ManifestFeatures(_embed(model, source.values[: len(manifest)]), EMBEDDING, (split,))
    near = open_near_duplicates(cache)
    options = config.split_options()
    splits = [
        create_split(manifest, cache.digests, near=near, **{**options, "fold": fold})
        for fold in range(config.folds)
    ]
    return ManifestFeatures(pooled, POOLED, tuple(splits))


def check_by_identity(config: TrainConfig) -> None:
    """Raise ConfigError unless the settings split by identity."""
    if config.split != "identity":
        raise ConfigError(
            f"The split of these settings is '{config.split}'.",
            hint="Give a recipe or a run that is split by identity: others have seen every identity.",
        )


def _embed(model: Classifier, pooled: NDArray[np.float16]) -> NDArray[np.float32]:
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pooled), BATCH):
            batch = torch.from_numpy(np.array(pooled[start : start + BATCH])).float()
            parts.append(model.net.neck(batch).numpy())
    return np.concatenate(parts)
