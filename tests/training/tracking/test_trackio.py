"""The real library, where it is installed; it keeps Pillow below the release that others may want."""

import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from threeages.training.tracking import trackio as own
from threeages.training.tracking.tracking import open_tracking


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """trackio's folder; its module has read where that is when it was imported."""
    reason = "trackio is not installed: pip install 'threeages[trackio]'"
    pytest.importorskip("trackio", reason=reason)
    for name in ("trackio.utils", "trackio.sqlite_storage", "trackio"):
        monkeypatch.setattr(f"{name}.TRACKIO_DIR", tmp_path / "trackio")
    for name in (own.SPACE, own.SERVER):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "trackio"


def test_a_resumed_training_is_one_run_and_nothing_leaves_the_machine(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_user")  # with a token trackio asks the hub who it belongs to
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: asked.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: asked.append(where))
    rows = [{"epoch": n, "train_loss": 1 / n} for n in (1, 2)]
    for number, row in enumerate(rows):
        with open_tracking(["trackio"], tmp_path / "mine") as tracking:
            tracking.start(tmp_path / "mine", {"lr": 0.25}, {"train": 12}, rows[:number])
            tracking.log_epoch(row)
            tracking.log_test({"accuracy": 0.75})
    assert not asked
    assert capsys.readouterr().out == ""
    (database,) = folder.glob("threeages*.db")
    with sqlite3.connect(database) as held:
        metrics = held.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
        ((config,),) = held.execute("SELECT config FROM configs").fetchall()
    assert len({run for run, _, _ in metrics}) == 1
    assert metrics[0][0].startswith("mine-")
    values = [(step, json.loads(text)) for _, step, text in metrics]
    assert [(step, v["train_loss"]) for step, v in values if "train_loss" in v] == [(1, 1.0), (2, 0.5)]
    assert [v["test_accuracy"] for _, v in values if "test_accuracy" in v] == [0.75]
    assert json.loads(config)["split.train"] == 12
    assert json.loads(config)["_Username"] is None
