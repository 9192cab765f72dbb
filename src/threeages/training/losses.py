"""Several tasks at once: targets from a manifest, and a loss that skips what a row does not know."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.labels import UNKNOWN, YEARS
from threeages.models.heads import MAIN, MAX_AGE, Head, HeadSpec, years_spec
from threeages.models.vit import NUM_FEATURES
from threeages.training.config import TrainConfig

Targets = dict[str, NDArray[Any]]
MAX_CLASSES = 50  # a column of more distinct values holds names or numbers, not classes
YEARS_COLUMN = "age"
TEACHER = "teacher"  # the task that learns what CLIP's image tower makes of the face


def create_heads(config: TrainConfig, manifest: Manifest) -> tuple[HeadSpec, ...]:
    """The age group's head and one for each task of the settings.

    `years` reads the column `age`, `teacher` asks CLIP's image tower (training.teacher); any other task is a
    column whose distinct values are its classes.
    """
    return (HeadSpec(kind=config.head), *(_spec(task, manifest) for task in config.tasks))


def collect_targets(manifest: Manifest, heads: tuple[HeadSpec, ...]) -> Targets:
    """Class index int64 `(n,)` by task, UNKNOWN (-1) where the row has no label for it; none of a teacher."""
    targets = {MAIN: manifest.labels}
    for spec in heads[1:]:
        if spec.name == TEACHER:
            continue
        if spec.name == YEARS:
            targets[YEARS] = np.asarray([_year(v) for v in _column(manifest, YEARS_COLUMN)], dtype=np.int64)
        else:
            index = {name: i for i, name in enumerate(spec.classes)}
            values = [index.get(v, UNKNOWN) for v in _column(manifest, spec.name)]
            targets[spec.name] = np.asarray(values, dtype=np.int64)
    return targets


def joint_loss(
    heads: Mapping[str, Head],
    logits: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> Tensor:
    """Weighted sum over the tasks of the mean loss of the rows that have a label for it.

    A task that no row of the batch is labelled for adds nothing; the age group has the weight 1.
    """
    total = torch.zeros((), device=logits[MAIN].device)
    for name, head in heads.items():
        known = is_known(targets[name])
        if known.any():
            loss = head.loss(logits[name][known].float(), targets[name][known])
            total = total + weights.get(name, 1.0) * loss
    return total


def judge_tasks(
    heads: Mapping[str, Head], logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, float]:
    """The figure of every further task over the rows that know it, such as `gender_accuracy`; NaN without."""
    found = {}
    for name in list(heads)[1:]:
        known = is_known(targets[name])
        figure, value = heads[name].metric(logits[name][known], targets[name][known])
        found[f"{name}_{figure}"] = value
    return found


def is_known(target: Tensor) -> Tensor:
    """Which rows `(n,)` have a label; features are known of every row."""
    return target != UNKNOWN if target.ndim == 1 else torch.ones_like(target[:, 0], dtype=torch.bool)


def _spec(task: str, manifest: Manifest) -> HeadSpec:
    if task == TEACHER:
        return HeadSpec(TEACHER, "features", tuple(map(str, range(NUM_FEATURES))))
    if task == YEARS:
        _column(manifest, YEARS_COLUMN)
        return years_spec()
    classes = tuple(sorted({v for v in _column(manifest, task) if v}))
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(
            f"The column {task} has {len(classes)} distinct values, which are no classes to learn.",
            hint=f"A task needs 2 to {MAX_CLASSES}; the apparent age is the task '{YEARS}'.",
        )
    return HeadSpec(task, "softmax", classes)


def _column(manifest: Manifest, name: str) -> tuple[str, ...]:
    if name not in manifest.columns:
        raise ConfigError(
            f"The manifest has no column {name}.", hint=f"It has {', '.join(manifest.columns) or 'none'}."
        )
    return manifest.columns[name]


def _year(text: str) -> int:
    try:
        age = round(float(text))
    except (ValueError, OverflowError):
        return UNKNOWN
    return min(age, MAX_AGE) if age >= 0 else UNKNOWN
