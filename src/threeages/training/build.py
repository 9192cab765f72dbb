"""What a training is built of: the data, the split and the model."""

from dataclasses import replace
from pathlib import Path

import torch

from threeages.data.cache import PixelCache, open_faces
from threeages.data.manifest import Manifest
from threeages.data.split import Split, create_split
from threeages.data.stored import FEATURES_FOLDER
from threeages.errors import DataError
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.registry import create_signature
from threeages.models.weights import load_pretrained
from threeages.signature import Signature
from threeages.training import loop as fitting
from threeages.training.config import TrainConfig
from threeages.training.losses import collect_targets, create_heads


def open_data(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> tuple[PixelCache, Split]:
    """The images at the model's size, and how they are split; raises DataError where one cannot be read."""
    cache = open_faces(manifest, configured_signature(config), views=config.views, folder=cache_dir)
    if cache.failed:
        first = next(iter(cache.failed))
        raise DataError(
            f"{len(cache.failed)} images cannot be read: {manifest.paths[first]} ({cache.failed[first]}) ...",
            hint="Run: threeages data audit MANIFEST, then leave their rows out.",
        )
    split = create_split(
        manifest, cache.digests, config.split, fold=config.fold, folds=config.folds, seed=config.seed
    )
    return cache, split


def create_data(
    manifest: Manifest, model: Classifier, cache: PixelCache, cache_dir: Path | None
) -> fitting.TrainingData:
    """What the training loop needs of the images: pixels, and targets for the model's heads."""
    targets = collect_targets(manifest, tuple(model.architecture.heads))
    folder = cache_dir or FEATURES_FOLDER
    key = cache.digests.tobytes() * (len(cache.pixels) // len(cache.digests))  # once a view
    return fitting.TrainingData(cache.pixels, targets, key, folder)


def create_model(config: TrainConfig, manifest: Manifest) -> Classifier:
    """The model that the settings name, with its pretrained weights and a head for each task."""
    torch.manual_seed(config.seed)
    signature = replace(configured_signature(config), temperature=config.temperature)
    model = create_classifier(signature, Architecture(create_heads(config, manifest), config.options))
    load_pretrained(model, config.weights)
    return model


def configured_signature(config: TrainConfig) -> Signature:
    """The preprocessing that the settings of a training name."""
    return create_signature(
        config.model,
        config.input_size,
        alignment=config.alignment,
        double_scaling=config.double_scaling,
    )
