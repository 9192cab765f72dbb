"""Starts the processes of a training on this machine, and ends them all where one of them ends early.

Lightning's own launcher would do for the start; where a process dies, it kills the caller without a word.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

from threeages.errors import ThreeAgesError
from threeages.training.placement import STARTED, Placement

COMMAND = (sys.executable, "-m", "threeages")
LOST = 75  # exit code of a process that ends because another one did, which is the one to name
GRACE = 5.0  # seconds for the others to end by themselves, so that the one with the cause is found
RESUMES = "Start the same command again: the training resumes, with any number of processes."
LOST_TEXT = (
    "Another process of the training ended or cannot be reached, and the training ended with it.",
    f"What that process or its machine said last is the cause. {RESUMES}",
)


def launch_processes(placement: Placement) -> int:
    """Run this command once in every process of this machine; the exit code, 0 where all ended well.

    A process with an exit code other than 0 has said why. Raises ThreeAgesError where one was ended by a
    signal or lost the others. However this process ends, those end with it.
    """
    with _start(placement) as processes:
        codes = _wait(processes)
    return _judge(codes, placement)


def follow_launcher() -> None:
    """In a process started so: end when the starting one does, which holds the other end of stdin."""
    Thread(target=_end_with_stdin, name="threeages-launcher", daemon=True).start()


def _end_with_stdin() -> None:
    try:
        while os.read(0, 1):
            pass
    except OSError:
        pass
    os._exit(LOST)


@contextmanager
def _start(placement: Placement) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [*COMMAND, *sys.argv[1:]]
    meeting = {} if placement.nodes > 1 else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_find_port())}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for local_rank in range(placement.devices):
            ranks = {STARTED: str(local_rank), "LOCAL_RANK": str(local_rank)}
            # a session of its own: a terminal's ^C comes here alone
            started = subprocess.Popen(
                command, env=os.environ | meeting | ranks, stdin=subprocess.PIPE, start_new_session=True
            )
            processes.append(started)
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()  # closes its pipe


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """The exit codes once all have ended, or a moment after the first failure; None: still at work."""
    deadline: float | None = None
    while True:
        codes = [process.poll() for process in processes]
        if None not in codes or (deadline is not None and time.monotonic() > deadline):
            return codes
        if deadline is None and any(codes):
            deadline = time.monotonic() + GRACE
        time.sleep(0.05)


def _judge(codes: Sequence[int | None], placement: Placement) -> int:
    """The exit code of the command by those of its processes."""
    failed = {i: code for i, code in enumerate(codes) if code}
    for i, code in failed.items():
        if code < 0:
            name = f"Process {placement.rank + i + 1} of {placement.size}"
            raise ThreeAgesError(
                f"{name} was ended by {_name_signal(-code)}, and the training with it.",
                hint=f"The system does that where memory runs out. {RESUMES}",
            )
    if causes := [code for code in failed.values() if code != LOST]:
        return causes[0]
    if failed:
        raise ThreeAgesError(LOST_TEXT[0], hint=LOST_TEXT[1])
    return 0


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
