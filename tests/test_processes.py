"""Processes that share work end with the one that started them, whatever ended it, and in silence."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from threeages import processes
from threeages.errors import DataError
from threeages.processes import start_processes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

SCRIPT = """
import sys, time
from pathlib import Path
from threeages.processes import start_processes

def main():
    with start_processes(2) as pool:
        list(pool.map(sleep, [Path(sys.argv[1]) / name for name in "ab"]))

def sleep(note):
    note.touch()
    time.sleep(600)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, True)],
)
def test_children_end_with_their_parent(tmp_path: Path, number: int, whole_group: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        _wait(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        tree = psutil.Process(process.pid).children(recursive=True)
        assert len(tree) >= 4  # the resource tracker, the fork server and two workers
        (os.killpg if whole_group else os.kill)(process.pid, number)
        assert not psutil.wait_procs(tree, timeout=5)[1]
        errors = process.communicate(timeout=5)[1]
    assert errors.count("Traceback") <= (number == signal.SIGINT)  # that of the script, not of the workers
    assert "resource_tracker" not in errors


def test_an_exception_ends_the_processes_in_their_tasks(tmp_path: Path) -> None:
    start = time.monotonic()
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyError):
        _fail_while_they_work(tmp_path / "waiting")
    assert set(multiprocessing.active_children()) == before
    assert time.monotonic() - start < 300
    assert not (tmp_path / "waiting").exists()


def _fail_while_they_work(note: Path) -> None:
    with start_processes(1) as pool:
        running = pool.submit(time.sleep, 600)
        for _ in range(3):  # the pool hands out one task more than it has processes
            pool.submit(note.touch)
        _wait(running.running)
        raise KeyError


def test_a_process_that_the_system_ended_is_a_message() -> None:
    with pytest.raises(DataError, match="memory"), start_processes(1) as pool:
        pool.submit(os._exit, 1).result()


def test_the_signals_of_the_caller_stay_as_they_are() -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with start_processes(1) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert pool.submit(signal.getsignal, signal.SIGTERM).result() == signal.SIG_IGN
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}


def _wait(done: object) -> None:
    assert callable(done)
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_while_a_process_starts_counts_once() -> None:
    """It wakes who counts the signals by their bytes; told twice, it would be taken for a second one."""
    calls: list[int] = []
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    handler = signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    before = signal.set_wakeup_fd(sender.fileno())
    try:
        with processes._put_off_signals():
            signal.raise_signal(signal.SIGTERM)
            assert not calls
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, handler)
    assert calls == [signal.SIGTERM]
    with receiver, sender:
        assert receiver.recv(8) == bytes([signal.SIGTERM])
