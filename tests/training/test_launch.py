"""The processes that `train --devices` starts, with tiny programs in place of a training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from threeages.errors import ThreeAgesError
from threeages.training import launch
from threeages.training.placement import Placement

TWO = Placement("own", 2, starts=True)
HEAD = "import os, sys, time, pathlib\nrank = int(os.environ['LOCAL_RANK'])\n"
KILL = "os.kill(os.getpid(), 9)"


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE", 0.3)


def _launch(code: str, monkeypatch: pytest.MonkeyPatch, placement: Placement = TWO) -> int:
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, "-S", "-c", HEAD + code))
    monkeypatch.setattr(sys, "argv", ["threeages", "train", "faces.csv"])
    return launch.launch_processes(placement)


def test_each_runs_the_same_command_with_a_rank_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "MASTER_ADDR", "MASTER_PORT", "THREEAGES_STARTED_RANK"
    text = f"repr([sys.argv[1:], *(os.environ[n] for n in {names})])"
    monkeypatch.chdir(tmp_path)
    assert _launch(f"pathlib.Path(f'out-{{rank}}').write_text({text})", monkeypatch) == 0
    first, second = (eval((tmp_path / f"out-{rank}").read_text()) for rank in (0, 1))
    assert first[:3] == second[:3]
    assert first[:2] == [["train", "faces.csv"], "127.0.0.1"]
    assert (first[3], second[3]) == ("0", "1")


def test_several_machines_meet_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    code = "sys.exit(os.environ['MASTER_ADDR'] + os.environ['MASTER_PORT'] != '10.0.0.129500')"
    assert _launch(code, monkeypatch, Placement("own", 2, 2, starts=True)) == 0


def test_one_that_is_killed_ends_the_others_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = Placement("own", 2, 2, rank=2, starts=True)  # the second machine's
    with pytest.raises(ThreeAgesError, match="Process 4 of 4 was ended by SIGKILL") as caught:
        _launch(f"{KILL} if rank else time.sleep(60)", monkeypatch, placement)
    assert "resumes" in caught.value.hint


def test_the_one_with_the_cause_counts_and_not_those_that_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _launch("time.sleep(0.15 * rank); sys.exit(2 if rank else 75)", monkeypatch) == 2
    assert _launch("time.sleep(0.15 * rank); sys.exit(75 if rank else 2)", monkeypatch) == 2
    with pytest.raises(ThreeAgesError, match="was ended by SIGKILL"):
        _launch(f"{KILL} if rank else sys.exit(75)", monkeypatch)
    with pytest.raises(ThreeAgesError, match="Another process of the training ended"):
        _launch("sys.exit(75)", monkeypatch)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_they_end_with_the_process_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    rank = (
        "from threeages.training.launch import follow_launcher\nfollow_launcher()\n"
        "pathlib.Path(f'pid-{os.getpid()}').touch(); time.sleep(60)"
    )
    program = (
        "import sys\nfrom threeages.training import launch\n"
        "from threeages.training.placement import Placement\n"
        f"launch.COMMAND = (sys.executable, '-c', {HEAD + rank!r})\n"
        "launch.launch_processes(Placement('own', 2, starts=True))"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(found := list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == 2
    started.send_signal(number)
    started.wait(30)
    left = {int(path.name.removeprefix("pid-")) for path in found}
    while (left := {process for process in left if _lives(process)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
