from pathlib import Path

import pytest

from threeages.training.tracking.tracking import open_tracking

pytest.importorskip("tensorboard")


def test_tensorboard_reads_settings_and_metrics_of_every_start(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [{"epoch": n, "phase": "head", "train_loss": 1 / n, "val_accuracy": 0.5} for n in (1, 2, 4)]
    for number, row in enumerate(rows):
        with open_tracking(["tensorboard"], tmp_path) as tracking:
            tracking.start(tmp_path, {"lr": 0.25}, {"train": 12}, rows[:number])
            tracking.log_epoch(row)
            tracking.log_test({"accuracy": 0.75})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert found["train_loss"] == [(1, 1.0), (2, 0.5), (4, 0.25)]
    assert found.keys() == {"train_loss", "val_accuracy", "test_accuracy"}
    text = events.Tensors("training/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| lr | 0.25 |" in text
    assert "| split.train | 12 |" in text
    assert str(tmp_path) in text
