"""What a training is built of: the data, the split, the model and the task."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from threeages.data.cache import PixelCache, open_faces, open_near_duplicates
from threeages.data.manifest import Manifest
from threeages.data.split import Rows, Split, create_split
from threeages.data.stored.opening import FEATURES_FOLDER
from threeages.errors import DataError, format_count
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.registry import create_signature
from threeages.models.weights import load_pretrained
from threeages.signature import Signature
from threeages.training.batches import TrainingData
from threeages.training.config import TrainConfig, split_names
from threeages.training.losses import collect_targets, create_heads, find_head_problem
from threeages.training.sampling import source_log_priors, weigh_rows
from threeages.training.tasks import PRIOR, TEACHER, ClassificationTask, DistillationTask
from threeages.training.teachers import open_encoder_features

logger = logging.getLogger(__name__)


def open_data(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> tuple[PixelCache, Split]:
    """The images as the model takes them, and their split; raises DataError where one cannot be read."""
    cache = open_pixels(manifest, config, cache_dir)
    near = None if config.split == "none" else open_near_duplicates(cache)
    split = create_split(manifest, cache.digests, near=near, **config.split_options())
    return cache, split


def open_pixels(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> PixelCache:
    """The images as the model takes them; raises DataError where one cannot be read."""
    cache = open_faces(
        manifest,
        configured_signature(config),
        copies=config.augmented_copies,
        augmentation=config.augmentation,
        folder=cache_dir,
    )
    if cache.failed:
        first = next(iter(cache.failed))
        raise DataError(
            f"{format_count(cache.failed, 'image')} cannot be read, first {manifest.paths[first]} "
            f"({cache.failed[first]}).",
            hint="Run: threeages data audit MANIFEST, then remove their rows.",
        )
    return cache


def create_data(
    manifest: Manifest, model: Classifier, cache: PixelCache, cache_dir: Path | None
) -> TrainingData:
    """Pixels, and targets for the model's heads."""
    targets = collect_targets(manifest, tuple(model.architecture.heads))
    return TrainingData(cache.pixels, targets, cache.key, cache_dir or FEATURES_FOLDER)


def weigh_data(data: TrainingData, manifest: Manifest, config: TrainConfig, train: Rows) -> TrainingData:
    """The data with the weights by which the train rows are drawn, and with their sources' log priors."""
    if config.balance:
        weights = np.zeros(len(manifest))
        weights[train] = weigh_rows(manifest, train, split_names(config.balance))
        data = replace(data, weights=weights)
    if config.logit_adjustment:
        priors = np.float32(config.logit_adjustment) * source_log_priors(manifest, train)
        data = replace(data, targets={**data.targets, PRIOR: priors})
    return data


def create_task(
    model: Classifier,
    manifest: Manifest,
    config: TrainConfig,
    split: Split,
    data: TrainingData,
    cache_dir: Path | None,
) -> tuple[ClassificationTask, TrainingData]:
    """The task that the settings name for a model, and the data with what the task compares it to."""
    data = weigh_data(data, manifest, config, split.train)
    if config.teacher is None:
        return ClassificationTask(model, config.extra_heads), data
    features = open_encoder_features(
        manifest, config.teacher, model.signature.alignment, cache_dir, max_gb=config.max_cache_gb
    )
    task = DistillationTask(model, config.extra_heads, features[split.train], config.teacher_weight)
    return task, replace(data, targets={**data.targets, TEACHER: features})


def create_model(config: TrainConfig, manifest: Manifest | None = None) -> Classifier:
    """The model that the settings name, with its pretrained weights and a head for each label.

    Without a manifest it has the age groups' head alone.
    """
    torch.manual_seed(config.seed)
    signature = replace(configured_signature(config), temperature=config.temperature)
    heads = create_heads(config.head, config.extra_heads, manifest) if manifest else None
    architecture = Architecture(heads, config.options) if heads else Architecture(options=config.options)
    model = create_classifier(signature, architecture)
    load_pretrained(model, config.weights)
    return model


def configured_signature(config: TrainConfig) -> Signature:
    """The preprocessing that the settings of a training name."""
    return create_signature(
        config.model,
        config.input_size,
        alignment=config.alignment,
        double_scaling=config.preprocessing == "scaled_twice",
    )


def drop_missing_heads(config: TrainConfig, manifest: Manifest) -> TrainConfig:
    """The settings without the heads that have nothing to learn; each is logged as a warning."""
    problems = {name: find_head_problem(name, manifest) for name in config.extra_heads}
    for name, problem in problems.items():
        if problem:
            logger.warning("%s The model gets no head for %s.", problem, name)
    kept = {name: weight for name, weight in config.extra_heads.items() if not problems[name]}
    return replace(config, extra_heads=kept)
