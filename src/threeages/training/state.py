"""The state of a training: all that its steps change, as a checkpoint holds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from threeages.training.checkpoint import describe_model
from threeages.training.config import Phase
from threeages.training.epochs import Epoch
from threeages.training.state_file import Content
from threeages.training.tasks import ClassificationTask


@dataclass
class EpochSums:
    """What an epoch has added up over its steps so far, and the random states behind the last of them."""

    step: int = 0  # how many are done
    images: int = 0
    seconds: float = 0.0
    correct: int = 0
    loss: dict[str, float] = field(default_factory=dict)  # by name, times the rows that it is a mean of
    known: dict[str, int] = field(default_factory=dict)  # those rows
    random: dict[str, Any] = field(default_factory=dict)

    def add(self, losses: Mapping[str, Tensor], known: Mapping[str, int], correct: int) -> None:
        """Add one batch: its mean losses, the rows of each that have a label, and the correct answers."""
        self.correct += correct
        for name, n in known.items():
            self.known[name] = self.known.get(name, 0) + n
            if name in losses:
                self.loss[name] = self.loss.get(name, 0.0) + losses[name].item() * n

    def end_step(self, images: int, seconds: float) -> None:
        """Count a step with its images; the epoch has taken some `seconds` so far."""
        self.step += 1
        self.images += images
        self.seconds = seconds


@dataclass
class State:
    """What training changes: a checkpoint holds all of it, so that a stopped training resumes."""

    task: ClassificationTask
    phase: Phase
    history: list[Epoch]  # of earlier phases too
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    best: Content | None = None  # the model of the epoch that is kept so far
    sums: EpochSums = field(default_factory=EpochSums)  # of the current epoch

    def evaluated(self) -> ClassificationTask:
        """The task with the weights that are evaluated and kept: their moving average where there is one."""
        return self.task if self.ema is None else cast(ClassificationTask, self.ema.module)

    def content(self) -> Content:
        """Everything as a checkpoint holds it, but for what no step changes."""
        return {
            **describe_model(self.task.model),
            "task": self.task.own_state(),
            "phase": self.phase.name,
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "within": asdict(self.sums) if self.sums.step else None,
            "history": self.history,
            "best": self.best,
            "temperature": None,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Load what `content` gave in the middle of a phase: optimizer, moving average and sums."""
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.ema:
            self.ema.load_state_dict(saved["ema"])
        if saved["within"]:
            self.sums = EpochSums(**saved["within"])
