"""Epochs as rows of metrics: which one is kept, and which phase the next belongs to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from threeages.models.heads import MAIN
from threeages.training.config import Phase, TrainConfig

Epoch = dict[str, Any]


def next_phase(config: TrainConfig, history: list[Epoch]) -> Phase | None:
    """The first phase that has epochs left and has not run out of patience; None when all are done."""
    for phase in config.phases():
        scores = [row.get("val_accuracy", 0.0) for row in history if row["phase"] == phase.name]
        waited = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        impatient = config.patience is not None and waited >= config.patience
        if len(scores) < phase.epochs and not impatient:
            return phase
    return None


def count_epochs(phase: Phase, history: list[Epoch]) -> int:
    """How many epochs of a phase are done."""
    return sum(row["phase"] == phase.name for row in history)


def is_best(row: Epoch, history: list[Epoch]) -> bool:
    """Whether no epoch before did better on the validation rows; True without such rows.

    The loss decides between epochs of one accuracy.
    """
    score = _score(row)
    return all(score > _score(past) for past in history)


def _score(row: Epoch) -> tuple[float, float]:
    """What the best epoch has most of: accuracy, then the negative loss; without either the latest."""
    if "val_accuracy" not in row:
        return 0.0, row["epoch"]
    return row["val_accuracy"], -row["val_loss"]


def summarize_train_rows(
    loss: Mapping[str, float], known: Mapping[str, int], correct: int, images: int, seconds: float
) -> Epoch:
    """The metrics of the train rows from sums over an epoch.

    `loss` and `known` are by name of head: the sum over the rows with a label, and the number of those rows.
    """
    means = {name: loss.get(name, 0.0) / n if n else np.nan for name, n in known.items()}
    names = {name: "train_loss" if name == MAIN else f"train_{name}_loss" for name in means}
    return {
        **{names[name]: float(mean) for name, mean in means.items()},
        "train_accuracy": correct / max(known[MAIN], 1),
        "images_per_second": images / max(seconds, 1e-9),
        "seconds": seconds,
    }


def format_epoch(row: Epoch) -> str:
    """A row of metrics in one line of a log."""
    return "  ".join(f"{k} {v if isinstance(v, str) else f'{v:.4g}'}" for k, v in row.items())
