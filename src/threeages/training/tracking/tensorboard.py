"""TensorBoard: files in the run's folder, of which every start adds one to the same run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threeages.errors import MissingDependencyError
from threeages.training.tracking.tracker import Description

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes into `run/tensorboard`; raises MissingDependencyError where TensorBoard is not installed."""

    title = "TensorBoard"

    def __init__(self, run: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingDependencyError("tensorboard", "tensorboard") from error
        self._create = SummaryWriter
        self._folder = run / FOLDER
        self._writer: Any = None

    @property
    def place(self) -> str:
        """No path, as a run may be moved."""
        return "the run's folder"

    def create_run(self, about: Description) -> str:
        """The run is the folder."""
        return FOLDER

    def open_run(self, run_id: str, about: Description) -> None:
        """Open a new file beside those of earlier starts."""
        self._writer = self._writer or self._create(self._folder)
        rows = [f"| {name} | {value} |" for name, value in about.values.items()]
        table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
        self._writer.add_text("training", f"{about.folder}\n\n{table}", 0)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Write a scalar for each metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
