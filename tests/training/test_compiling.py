"""torch.compile with a backend that runs what was traced: the C++ compiler of the real one takes minutes."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from threeages.data.split import Split
from threeages.errors import ConfigError
from threeages.models.heads import MAIN
from threeages.training import compiling
from threeages.training.batches import TrainingData
from threeages.training.build import create_model
from threeages.training.config import TrainConfig
from threeages.training.loop import train_epochs
from threeages.training.run_folder import check_config
from threeages.training.state_file import read_content
from threeages.training.tasks import ClassificationTask

PLAIN = TrainConfig(
    model="cnn", input_size=32, batch_size=8, head_epochs=1, epochs=2, unfreeze=2, ema=0.9,
    options={"filters": (8, 16), "kernels": (3, 3), "dense": 16}, flip=True, precision="32-true",
)  # fmt: skip
COMPILED = replace(PLAIN, compile=True)
ROWS = np.arange(20)  # two full batches and a part of one


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    counters.clear()


def _epochs(config: TrainConfig, run: Path) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    data = TrainingData(pixels, {MAIN: rng.integers(0, 3, 24)}, b"")
    split = Split(ROWS, np.arange(20, 24), np.arange(0), 0)
    return train_epochs(ClassificationTask(create_model(config), {}), data, split, config, run)


def _assert_alike(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for part in ("model", "task", "ema"):
        assert list(found[part]) == list(expected[part])
        for name, value in found[part].items():
            torch.testing.assert_close(value, expected[part][name], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_compiled_run_has_the_same_names_and_weights_and_either_resumes_the_other(tmp_path: Path) -> None:
    list(_epochs(PLAIN, tmp_path / "plain"))
    plain = read_content(tmp_path / "plain" / "last.ckpt", "")
    assert not counters["frames"]
    for name, first, second in (("on", PLAIN, COMPILED), ("off", COMPILED, PLAIN)):
        torch._dynamo.reset()
        counters.clear()
        running = _epochs(first, tmp_path / name)
        assert len([next(running) for _ in range(2)]) == 2
        running.close()
        saved = read_content(tmp_path / name / "last.ckpt", "")
        check_config(saved, second, tmp_path / name)
        assert len(list(_epochs(second, tmp_path / name))) == 1
        _assert_alike(read_content(tmp_path / name / "last.ckpt", ""), plain)
        assert counters["frames"]["ok"] > 0
        assert not counters["graph_break"]


def test_a_run_resumes_with_another_choice_of_compiling_and_of_nothing_else(tmp_path: Path) -> None:
    saved = {"config": PLAIN.to_dict()}
    check_config(saved, COMPILED, tmp_path)
    with pytest.raises(ConfigError, match="lr is"):
        check_config(saved, replace(COMPILED, lr=0.5), tmp_path)
    del saved["config"]["compile"]  # of a release before it
    check_config(saved, PLAIN, tmp_path)


def test_the_head_alone_is_not_compiled() -> None:
    task = ClassificationTask(create_model(COMPILED), {})
    head, main = COMPILED.phases()
    compiling.compile_steps(task, head, torch.device("cpu"))
    assert task._compiled_call_impl is None
    compiling.compile_steps(task, main, torch.device("cpu"))
    assert task._compiled_call_impl is not None


@pytest.mark.parametrize(
    "fault", ["No module named 'triton'", "no working C++ compiler was found.\nat line 3"]
)
def test_a_missing_compiler_is_said_and_the_steps_stay_as_they_were(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(fault)

    monkeypatch.setattr(compiling, "BACKEND", fail)
    task = ClassificationTask(create_model(COMPILED), {})
    compiling.compile_steps(task, COMPILED.phases()[1], torch.device("cpu"))
    assert task._compiled_call_impl is None
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert fault.partition("\n")[0].rstrip(".") in record.getMessage()
    assert "line 3" not in record.getMessage()


def test_an_evaluation_runs_uncompiled() -> None:
    if not hasattr(torch.compiler, "set_stance"):
        pytest.skip("torch before 2.6 cannot leave compiled code")
    model = create_model(COMPILED).eval()
    model.compile(backend="eager")
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    with compiling.run_uncompiled(), torch.inference_mode():
        model(pixels)
    assert not counters["frames"]
    model(pixels)
    assert counters["frames"]["ok"] == 1
