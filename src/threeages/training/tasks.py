"""What a training optimizes: a task runs the model, and owns the loss and the metrics of every epoch.

A task is given targets by name, `(b, ...)` each, as `build.create_task` collected them. The loop knows no
task by its kind (timm's `task/` is built the same way).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from threeages.models.classifier import Classifier
from threeages.models.heads import MAIN
from threeages.training.distill_losses import Features, ProjectionLoss
from threeages.training.losses import find_known, head_losses, head_metrics, joint_loss

PRIOR = "prior"  # log priors of a row's source among the targets, added to its logits in the loss
TEACHER = "teacher"  # the teacher's features among the targets, what is predicted of them among the outputs
Outputs = dict[str, Tensor]


class ClassificationTask(nn.Module):
    """Learn the labels of every head of the model, each with its weight in the loss."""

    def __init__(self, model: Classifier, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.model = model
        self.weights = dict(weights)

    def forward(self, x: Tensor, start: int = 0) -> Outputs:
        """Logits by head of uint8 pixels `(b, size, size, 3)`, or of what enters stage `start`."""
        logits: Outputs = self.model(x, start)
        return logits

    def top(self) -> list[nn.Module]:
        """The modules behind the backbone: they train at a rate of their own and are never frozen."""
        return [self.model.net.neck, *self.model.net.heads.values()]

    def losses(self, outputs: Outputs, targets: Outputs) -> Outputs:
        """The loss of a batch by head, without weights; that of a head without a label is absent.

        With log priors among the targets the age groups' logits are adjusted by those of each row's source
        (Menon et al. 2021), so that the model itself favours no group because a source did.
        """
        if PRIOR in targets:
            outputs = {**outputs, MAIN: outputs[MAIN] + targets[PRIOR]}
        return head_losses(self.model.net.heads, outputs, targets)

    def total(self, losses: Outputs) -> Tensor:
        """What is optimized: the weighted sum of `losses`; 0 where there is none."""
        return joint_loss(losses, self.weights)

    def count_known(self, targets: Outputs) -> dict[str, int]:
        """How many rows of a batch each of `losses` is a mean of."""
        return {name: int(find_known(targets[name]).sum()) for name in self.model.net.heads}

    def count_correct(self, outputs: Outputs, targets: Outputs) -> int:
        """How many rows of a batch get their age group."""
        probs = self.model.net.head.probs(outputs[MAIN].detach().float())
        return int((probs.argmax(1) == targets[MAIN]).sum())

    def metrics(self, outputs: Outputs, targets: Outputs) -> dict[str, float]:
        """The metrics shown for validation and test rows, by name."""
        return head_metrics(self.model.net.heads, outputs, targets)

    def own_state(self) -> dict[str, Any]:
        """The state of what the task has beside the model."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("model.")}


class DistillationTask(ClassificationTask):
    """Classification, and beside it the prediction of a teacher's features of the same face.

    The projection that predicts them is part of the task and not of the model: nothing of the teacher is
    left in what is kept (training.distill_losses).
    """

    def __init__(
        self, model: Classifier, weights: Mapping[str, float], features: Features, weight: float
    ) -> None:
        super().__init__(model, {**weights, TEACHER: weight})
        self.distillation = ProjectionLoss(model.net.num_features, features)

    def forward(self, x: Tensor, start: int = 0) -> Outputs:
        """Logits by head, and the prediction `(b, t)` of the teacher's features."""
        features = self.model.net.embed(x if start else self.model.normalize(x), start)
        return {**self.model.net.classify(features), TEACHER: self.distillation.projection(features)}

    def top(self) -> list[nn.Module]:
        """Neck, heads and the projection."""
        return [*super().top(), self.distillation]

    def losses(self, outputs: Outputs, targets: Outputs) -> Outputs:
        """Those of the heads, and of the features, which every row has."""
        distance = self.distillation.compare(outputs[TEACHER].float(), targets[TEACHER].float())
        return {**super().losses(outputs, targets), TEACHER: distance}

    def count_known(self, targets: Outputs) -> dict[str, int]:
        """Those of the heads; every row has the teacher's features."""
        return {**super().count_known(targets), TEACHER: len(targets[TEACHER])}

    def metrics(self, outputs: Outputs, targets: Outputs) -> dict[str, float]:
        """Those of the heads, and the share of the features' variance that is explained."""
        device = self.distillation.mean.device
        features = targets[TEACHER].to(device).float()
        distance = self.distillation.compare(outputs[TEACHER].to(device), features)
        return super().metrics(outputs, targets) | {"teacher_explained": 1 - float(distance)}


def select_targets(targets: Mapping[str, Any], rows: Any, device: torch.device | None = None) -> Outputs:
    """The targets of some rows as tensors."""
    return {name: torch.from_numpy(values[rows]).to(device) for name, values in targets.items()}
