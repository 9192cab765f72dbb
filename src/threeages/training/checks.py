"""What can be said of a training before any image is read."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from threeages.data.checks import check_age_groups, check_split, describe_ages, describe_groups
from threeages.data.manifest import Manifest
from threeages.data.split import Rows, Split
from threeages.errors import ConfigError, DataError, ThreeAgesError, describe_cause, format_count
from threeages.models.classifier import Classifier, create_classifier
from threeages.training.config import TrainConfig
from threeages.training.losses import create_heads, find_head_problem, has_values

logger = logging.getLogger(__name__)

LARGEST = 512  # pixels: a network that needs more is not looked for


def check_training(model: Classifier, config: TrainConfig) -> None:
    """Raise ConfigError where the network cannot take its input, or batches of one image."""
    check_input(model)
    if config.batch_size < 2 and normalizes_batches(model):
        raise ConfigError(
            f"The network {model.signature.name} normalizes over a batch and cannot train on one image.",
            hint="It needs batches of at least 2 images. Give a larger --batch-size.",
        )


def check_ranks(config: TrainConfig, processes: int) -> None:
    """Raise ConfigError where a batch has fewer images than there are processes to share it."""
    if config.batch_size < processes:
        raise ConfigError(
            f"{processes} processes cannot share batches of {format_count(config.batch_size, 'image')}.",
            hint="Give a larger --batch-size. Fewer --devices will do as well.",
        )


def plan_split(manifest: Manifest, config: TrainConfig) -> Split:
    """The split that the settings give where no image is a duplicate; raises as `check_split` does."""
    return check_split(manifest, **config.split_options())


def check_labels(manifest: Manifest, config: TrainConfig, split: Split | None = None) -> tuple[str, ...]:
    """Raise where the labels could not train, choose an epoch or be evaluated; reads no image, no weights.

    Raises ConfigError or DataError, see `check_split`, `check_sides` and `losses.create_heads`. What a
    training can do with but its user should know, such as a fold whose validation rows lack an age group, is
    logged as a warning; these sentences are returned. `split` is that of `plan_split`, made where not given.
    """
    split = split or plan_split(manifest, config)
    check_age_groups(manifest, np.arange(len(manifest)), "row", least=_least_groups(config))
    create_heads(config.head, config.extra_heads, manifest)
    return check_sides(manifest, split, config)


def check_sides(
    manifest: Manifest, split: Split, config: TrainConfig, said: Sequence[str] = ()
) -> tuple[str, ...]:
    """Check the labels on each side of a split; log, and return, the warnings that are not `said` yet.

    Raises DataError where no train row has a label, or all have the same while no further head is to learn;
    where a further head has nothing to learn; where no validation row has a label though they choose the
    epoch or the temperature; and where no test row has one.
    """
    where = _name_side(config)
    check_age_groups(manifest, split.train, "train row", where, least=_least_groups(config))
    for name in config.extra_heads:
        if problem := find_head_problem(name, manifest, split.train):
            raise DataError(problem, hint="Leave the head out, or add images with other values.")
    if len(split.validation) and (not config.keep_last or config.calibrate):
        check_age_groups(manifest, split.validation, "validation row", where, least=1)
    if len(split.test):
        check_age_groups(manifest, split.test, "test row", where, least=1)
    found = [*describe_ages(manifest), *_describe_sides(manifest, split, config, where)]
    for sentence in dict.fromkeys(found):
        if sentence not in said:
            logger.warning("%s", sentence)
    return tuple(found)


def _describe_sides(manifest: Manifest, split: Split, config: TrainConfig, where: str) -> Iterator[str]:
    """Sentences about the age groups, and the further heads' labels, that a side lacks."""
    for sentence in describe_groups(manifest.labels[split.train], f"train row{where}"):
        yield f"{sentence} The model will hardly ever answer it."
    sides = {"validation": split.validation, "test": split.test}
    if config.split == "random":  # where the two are the same
        del sides["validation"]
    for name, rows in sides.items():
        if not len(rows):
            continue
        for sentence in describe_groups(manifest.labels[rows], f"{name} row{where}"):
            yield f"{sentence} The metrics of these rows say nothing of it."
        for head in config.extra_heads:
            if not has_values(head, manifest, rows):
                yield f"No {name} row{where} has a value for {head}: its metric is not computed."


def _name_side(config: TrainConfig) -> str:
    """What follows the noun for a row of a split: which of its folds, or sources, are the test rows."""
    if config.split == "source":
        return f" beside the held-out {config.held_out}"
    return f" of fold {config.fold}" if config.split == "identity" else ""


def _least_groups(config: TrainConfig) -> int:
    """How many age groups the train rows need: with a further head one will do."""
    return 1 if config.extra_heads else 2


def check_input(model: Classifier) -> None:
    """Raise ConfigError, which names the least side, where a network cannot take images of its input size."""
    reason = _try_input(model)
    if reason is None:
        return
    size, name = model.signature.input_size, model.signature.name
    least = _find_least_size(model)
    raise ConfigError(
        f"The network {name} cannot take images of {size} px: {reason}.",
        hint=(f"It needs at least {least} px. " if least else "") + "Give another --input-size.",
    )


def check_rows(model: Classifier, rows: Rows) -> None:
    """Raise DataError where one train row is too few."""
    if len(rows) < 2 and normalizes_batches(model):
        raise DataError(
            f"There {'is' if len(rows) == 1 else 'are'} {format_count(len(rows), 'train row')}; "
            f"{model.signature.name} needs at least 2.",
            hint="Add images.",
        )


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
        return describe_cause(error)
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
