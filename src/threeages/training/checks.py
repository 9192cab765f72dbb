"""What can be said of a training before any image is read."""

import logging

import numpy as np
import torch
from torch import nn

from threeages.data.checks import check_split
from threeages.data.manifest import Manifest
from threeages.data.split import Rows
from threeages.errors import ConfigError, DataError, ThreeAgesError
from threeages.labels import AGE_GROUPS
from threeages.models.classifier import Classifier, create_classifier
from threeages.training.config import TrainConfig

logger = logging.getLogger(__name__)

LARGEST = 512  # pixels: a network that needs more is not looked for


def check_training(model: Classifier, manifest: Manifest, config: TrainConfig) -> None:
    """Raise ConfigError or DataError where a training could not start or would learn nothing.

    That is an input that the network cannot take, a split that the manifest is too small for, labels of one
    age group alone, and batches of one image where the network normalizes over a batch.
    """
    check_input(model)
    if config.batch_size < 2 and normalizes_batches(model):
        raise ConfigError(
            f"The network {model.signature.name} normalizes over a batch and cannot train on one image.",
            hint="Give a --batch-size of at least 2.",
        )
    check_split(manifest, **config.split_options())
    _check_labels(manifest, config)


def check_input(model: Classifier) -> None:
    """Raise ConfigError, which names the least side, where a network cannot take images of its input size."""
    reason = _try_input(model)
    if reason is None:
        return
    size, name = model.signature.input_size, model.signature.name
    least = _find_least_size(model)
    raise ConfigError(
        f"The network {name} cannot take images of {size} px: {reason}",
        hint=f"Give an --input-size of at least {least}." if least else "Give another --input-size.",
    )


def check_rows(model: Classifier, rows: Rows, labels: Rows) -> None:
    """Log a warning for every age group without a train row; raise DataError where one row is too few."""
    if len(rows) < 2 and normalizes_batches(model):
        raise DataError(
            f"The train rows are {len(rows)}; {model.signature.name} needs at least 2.", hint="Add images."
        )
    for i, name in enumerate(AGE_GROUPS):
        if not (labels[rows] == i).any():
            logger.warning("No train row is %s: the model will hardly ever answer it.", name)


def normalizes_batches(model: nn.Module) -> bool:
    """Whether a network has a layer that cannot train on a batch of one image."""
    return any(isinstance(module, nn.BatchNorm1d) for module in model.modules())


def _try_input(model: Classifier) -> str | None:
    """Why the network cannot take an image of its input size, None where it can."""
    size, training = model.signature.input_size, model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros((1, size, size, 3), dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        return str(error).partition("\n")[0]
    finally:
        model.train(training)
    return None


def _find_least_size(model: Classifier) -> int | None:
    """The least multiple of 16 above the input size that the network can take."""
    from dataclasses import replace

    size = model.signature.input_size
    for side in range(size - size % 16 + 16, LARGEST + 1, 16):
        try:
            larger = create_classifier(replace(model.signature, input_size=side), model.architecture)
        except ThreeAgesError:
            continue
        if _try_input(larger) is None:
            return side
    return None


def _check_labels(manifest: Manifest, config: TrainConfig) -> None:
    """Raise DataError where fewer than two age groups have images and no further head is to learn."""
    known = [name for i, name in enumerate(AGE_GROUPS) if (np.asarray(manifest.labels) == i).any()]
    if len(known) < 2 and not config.extra_heads:
        what = f"Every labelled image is {known[0]}" if known else "No image has a label"
        raise DataError(f"{what}; a training needs at least two age groups.", hint="Add images of others.")
