import sys
from pathlib import Path

import pytest

from threeages.errors import MissingDependencyError
from threeages.training.tensorboard import open_tensorboard


def test_tensorboard_reads_the_metrics_of_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = open_tensorboard(tmp_path)
    log({"epoch": 1, "phase": "head", "train_loss": 0.75, "val_accuracy": 0.5})
    log({"epoch": 2, "phase": "train", "train_loss": 0.5, "val_accuracy": 0.75})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert found == {"train_loss": [(1, 0.75), (2, 0.5)], "val_accuracy": [(1, 0.5), (2, 0.75)]}


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[tensorboard\]"):
        open_tensorboard(tmp_path)
