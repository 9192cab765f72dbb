"""The metrics of a training's epochs for TensorBoard, where it is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from threeages.errors import MissingDependencyError


def open_tensorboard(run: Path) -> Callable[[dict[str, Any]], None]:
    """A function that writes the metrics of one epoch into `run/tensorboard`.

    Raises MissingDependencyError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensorboard", "tensorboard") from error
    writer = SummaryWriter(run / "tensorboard")

    def log(epoch: dict[str, Any]) -> None:
        for name, value in epoch.items():
            if isinstance(value, float):
                writer.add_scalar(name, value, epoch["epoch"])
        writer.flush()

    return log
