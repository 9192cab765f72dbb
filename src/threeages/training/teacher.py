"""What a trained run makes of every image, for another to learn too (FitNets; Romero et al. 2015)."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from threeages.checkpoint import load_checkpoint
from threeages.config import TrainConfig
from threeages.errors import ConfigError
from threeages.models.classifier import Classifier
from threeages.models.heads import HeadSpec
from threeages.training.activations import Inputs, Stretch

BATCH = 256
TEACHER = "teacher"  # the task's name


def load_teacher(config: TrainConfig) -> tuple[Classifier, TrainConfig]:
    """The run `config.teacher` and its settings; raises ConfigError where it was trained on other people."""
    model, state = load_checkpoint(Path(config.teacher))
    own = TrainConfig(**state["config"])
    same = ("split", "fold", "folds", "seed")
    if other := [name for name in same if getattr(own, name) != getattr(config, name)]:
        values = ", ".join(f"{name} {getattr(own, name)}, not {getattr(config, name)}" for name in other)
        raise ConfigError(
            f"The teacher {config.teacher} was trained on other people: {values}.",
            hint="Give a run of the same split.",
        )
    return model, own


def teacher_spec(config: TrainConfig) -> HeadSpec:
    """The head that learns what enters the teacher's heads."""
    features = load_teacher(config)[0].net.head.in_features
    return HeadSpec(TEACHER, "features", tuple(map(str, range(int(features)))))  # type: ignore[arg-type]


def read_features(model: Classifier, inputs: Inputs, train: NDArray[np.int64]) -> NDArray[np.float32]:
    """What enters the heads, float32 `(n, f)`, brought to mean 0 and variance 1 over the rows `train`."""
    body = nn.Sequential(Stretch(model, inputs.depth, len(model.net.stages)), model.net.neck).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(inputs.values), BATCH):
            batch = np.array(inputs.values[start : start + BATCH])  # torch takes no read-only memory
            parts.append(body(torch.from_numpy(batch)).numpy())
    found: NDArray[np.float32] = np.concatenate(parts)
    spread = found[train].std(axis=0)
    found -= found[train].mean(axis=0)
    found /= np.where(spread > 0, spread, 1)
    return found
