import sys
from pathlib import Path
from types import ModuleType

import pytest

from threeages.errors import MissingDependencyError
from threeages.training.tensorboard import open_tensorboard


class Writer:
    """Stands in for TensorBoard's, which is no dependency of the tests."""

    written: list[tuple[str, float, int]]

    def __init__(self, folder: Path) -> None:
        Writer.written = [(folder.name, 0.0, 0)]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.written.append((name, value, step))

    def flush(self) -> None:
        pass


def test_every_figure_of_an_epoch_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    log = open_tensorboard(tmp_path)
    log({"epoch": 2, "phase": "train", "train_loss": 0.5, "val_accuracy": 0.75})
    assert Writer.written[1:] == [("train_loss", 0.5, 2), ("val_accuracy", 0.75, 2)]


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[tensorboard\]"):
        open_tensorboard(tmp_path)
