"""Trainings in 1, 2 and 4 processes, started in every way there is, on one machine and on two."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from threeages.errors import ConfigError, DataError
from threeages.training.checks import check_ranks
from threeages.training.config import TrainConfig
from threeages.training.ranks import Ranks
from threeages.training.state_file import read_content

WORKER = Path(__file__).with_name("ranks_worker.py")
NAMES = ("busy", "frozen", "plain")
TIMES = ("seconds", "images_per_second")
TIMEOUT = 600  # of a busy machine
TRAIN = (
    "--recipe", "reference-cnn", "--input-size", "48", "--epochs", "12", "--batch-size", "16", "--lr", "1e-4",
    "--split", "identity", "--precision", "32-true", "--ema", "0.9", "--keep-last",
)  # fmt: skip


def test_alone_everything_is_returned_as_it_is() -> None:
    ranks = Ranks()
    outputs = {"age_group": torch.ones((3, 2))}
    assert ranks.take(7) == slice(None)
    assert ranks.gather(outputs, 3)["age_group"] is outputs["age_group"]
    assert ranks.broadcast(outputs) is outputs
    with ranks.in_turns():
        ranks.check_same({"images": "a"})


def test_a_process_with_other_data_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks()
    monkeypatch.setattr(ranks, "broadcast", lambda _: {"images": "b", "split": "c"})
    with pytest.raises(DataError, match="has other data than the first: images"):
        ranks.check_same({"images": "a", "split": "c"})


def test_a_batch_has_an_image_for_every_process() -> None:
    check_ranks(TrainConfig(batch_size=4), 4)
    with pytest.raises(ConfigError, match="4 processes cannot share batches of 3 images"):
        check_ranks(TrainConfig(batch_size=3), 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


def _find_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _run(
    commands: Sequence[Sequence[str]], environs: Sequence[dict[str, str]] = ({},), **options: Any
) -> None:
    """Run commands side by side; all must end well."""
    started = [
        subprocess.Popen(command, env=os.environ | environ, stderr=subprocess.PIPE, text=True, **options)
        for command, environ in zip(commands, environs, strict=True)
    ]
    said = [process.communicate(timeout=TIMEOUT)[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(said)


@pytest.fixture(scope="module")
def alone(folder: Path, faces_csv: Path) -> Path:
    out = folder / "1"
    out.mkdir()
    _run([[sys.executable, str(WORKER), str(faces_csv), str(out), "1"]])
    return out


@pytest.fixture(scope="module")
def under_torchrun(alone: Path, folder: Path, faces_csv: Path) -> Path:
    out = folder / "2"
    out.mkdir()
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", _find_port()]
    _run([[sys.executable, *torchrun, str(WORKER), str(faces_csv), str(out), "2"]])
    return out


@pytest.fixture(scope="module")
def under_srun(alone: Path, folder: Path, faces_csv: Path) -> Path:
    """Four tasks with the environment that SLURM gives them."""
    out = folder / "4"
    out.mkdir()
    job = {
        "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "1",
        "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_ID": "1", "MASTER_PORT": _find_port(),
    }  # fmt: skip
    tasks = [{**job, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(4)]
    _run([[sys.executable, str(WORKER), str(faces_csv), str(out), "4"]] * 4, tasks)
    return out


def _read(out: Path, name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / f"{name}-{rank}.json").read_text())
    return found


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _flatten(item, f"{name}.{key}")
    elif not name.endswith(TIMES):
        yield name, value


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["under_torchrun", "under_srun"])
def test_a_training_is_that_of_one_process(
    name: str, way: str, alone: Path, request: pytest.FixtureRequest
) -> None:
    """Batch norm, dropout, augmented rows, missing labels, a last batch of two rows: all alike."""
    out = request.getfixturevalue(way)
    expected = dict(_flatten(_read(alone, name)))
    found = dict(_flatten(_read(out, name)))
    assert found.keys() == expected.keys()
    losses = [key for key in expected if key.endswith("loss")]
    assert len(losses) >= 4
    for key, value in expected.items():
        if isinstance(value, float):  # outputs and metrics of validation rows are kept in float32
            rel = 1e-9 if "train" in key and key in losses else 1e-5
            assert found[key] == pytest.approx(value, rel=rel, abs=1e-9), key
        else:
            assert found[key] == value, key


@pytest.mark.slow
def test_the_last_batch_has_fewer_rows_than_there_are_processes(alone: Path) -> None:
    """What the test above is worth rests on it."""
    for found in (_read(alone, "busy"), _read(alone, "frozen")):
        assert 0 < found["train rows"] % found["batch size"] < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_process_has_the_same_and_the_first_alone_writes(name: str, under_srun: Path) -> None:
    assert all(_read(under_srun, name, rank) == _read(under_srun, name) for rank in range(1, 4))
    assert [path.name for path in under_srun.glob(f"{name}-run-*")] == [f"{name}-run-0"]
    assert (under_srun / f"{name}-run-0" / "best.ckpt").exists()


def _command(csv: Path, folder: Path, out: str, *options: str) -> list[str]:
    run = ["train", str(csv), "--out", str(folder / out), "--cache-dir", str(folder / "pixels")]
    return [sys.executable, "-m", "threeages", *run, *TRAIN, *options]


def _read_weights(run: Path) -> dict[str, Any]:
    content = read_content(run / "best.ckpt", "")
    found: dict[str, Any] = content["model"]
    assert len(content["history"]) == 12
    return found


def _find_differences(one: Path, two: Path) -> float:
    weights, others = _read_weights(one), _read_weights(two)
    return max(float((weights[name].double() - others[name].double()).abs().max()) for name in weights)


def _read_losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(folder: Path, faces_csv: Path) -> Path:
    """A run of two processes that nobody disturbs."""
    _run([_command(faces_csv, folder, "whole", "--devices", "2")], stdout=subprocess.DEVNULL)
    return folder / "whole"


@pytest.mark.slow
def test_a_killed_process_ends_the_training_which_resumes(whole: Path, folder: Path, faces_csv: Path) -> None:
    command = _command(faces_csv, folder, "killed", "--devices", "2")
    started = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    metrics = folder / "killed" / "metrics.csv"
    deadline = time.monotonic() + TIMEOUT
    while not metrics.exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    _find_rank(started.pid, "1").send_signal(signal.SIGKILL)
    said = started.communicate(timeout=TIMEOUT)[1]
    assert started.returncode == 2
    assert said.count("Error:") == 1, said
    assert "Error: Process 2 of 2 was ended by SIGKILL" in said
    assert not (folder / "killed" / "predictions.csv").exists()
    shutil.copytree(folder / "killed", folder / "killed-alone")
    _run([command], stdout=subprocess.DEVNULL)
    assert _find_differences(whole, folder / "killed") == 0
    _run([_command(faces_csv, folder, "killed-alone")], stdout=subprocess.DEVNULL)
    assert _read_losses(folder / "killed-alone") == pytest.approx(_read_losses(whole), rel=3e-3)
    assert (folder / "killed" / "predictions.csv").exists()


def _find_rank(process: int, rank: str) -> psutil.Process:
    children = psutil.Process(process).children()
    return next(child for child in children if child.environ().get("LOCAL_RANK") == rank)


@pytest.fixture
def two_hosts() -> Iterator[list[list[str]]]:
    """What a command starts with to run on either of two hosts: network namespaces with an address each."""
    names = [f"threeages-{os.getpid()}-{i}" for i in range(2)]
    if sys.platform != "linux" or not shutil.which("ip"):
        pytest.skip("two hosts are network namespaces of Linux")
    if subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces can only be made by root")
    try:
        subprocess.run(["ip", "netns", "add", names[1]], check=True)
        ends = ["type", "veth", "peer", "name", "eth0", "netns", names[1]]
        subprocess.run(["ip", "-n", names[0], "link", "add", "eth0", *ends], check=True)
        for i, name in enumerate(names):
            subprocess.run(
                ["ip", "-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0"], check=True
            )
            for device in ("lo", "eth0"):
                subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_hosts_give_the_same(
    two_hosts: list[list[str]], whole: Path, folder: Path, faces_csv: Path
) -> None:
    commands = [
        [*host, *_command(faces_csv, folder, f"host-{i}", "--nodes", "2")] for i, host in enumerate(two_hosts)
    ]
    meeting = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29511"}
    _run(commands, [{**meeting, "NODE_RANK": str(i)} for i in range(2)], stdout=subprocess.DEVNULL)
    assert _find_differences(whole, folder / "host-0") == 0
    assert not (folder / "host-1").exists()
    assert (folder / "host-0" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_what_all_find_wrong_is_said_once(folder: Path, faces_csv: Path) -> None:
    command = _command(faces_csv, folder, "wrong", "--devices", "2", "--batch-size", "1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 2
    assert done.stderr.count("Error:") == 1
    assert "2 processes cannot share batches of 1 image" in done.stderr
    assert "Traceback" not in done.stderr
