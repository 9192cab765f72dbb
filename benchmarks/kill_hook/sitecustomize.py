"""Kills its own process at one of its file operations.

Python imports this at its start where the folder is on PYTHONPATH, as benchmarks/killing.py arranges it. The
environment names the operation: KILL_AT=7 is the seventh in the folder where the process was started,
KILL_DELAY=0.01 waits so many seconds after it, KILL_GROUP=1 kills the children as well. KILL_COUNT=FILE kills
nothing and writes the number of operations at the end. Operations are what Python is told of: files opened to
be written, renamed and removed, folders made and removed; sqlite's and torch's own are not seen.
"""

import atexit
import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = frozenset(
    {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
)


class Hook:
    """Counts the operations of one process."""

    def __init__(self, at: int, delay: float, whole_group: bool) -> None:
        self.at, self.delay, self.whole_group = at, delay, whole_group
        self.process, self.folder = os.getpid(), str(Path.cwd()) + os.sep
        self.number, self.done = count(1), 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Kill the process before, or shortly after, the operation with the number `at`."""
        if not self._changes(event, args) or os.getpid() != self.process:
            return
        self.done = next(self.number)
        if self.done == self.at:
            if self.delay:
                threading.Timer(self.delay, self.kill).start()
            else:
                self.kill()

    def kill(self) -> None:
        if self.whole_group:
            os.killpg(0, signal.SIGKILL)
        os.kill(self.process, signal.SIGKILL)

    def _changes(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether an audit event changes something in the folder."""
        if event not in CHANGES and not (event == "open" and args[2] & WRITES):
            return False
        path = args[0]
        if not isinstance(path, str | bytes | os.PathLike):  # an open file by its number
            return False
        return os.path.abspath(os.fsdecode(path)).startswith(self.folder)  # noqa: PTH100 - no file is read


def install() -> None:
    """Follow the environment; what it says is not for the children, so it is taken out."""
    values = {name: os.environ.pop(f"KILL_{name}", "") for name in ("AT", "DELAY", "GROUP", "COUNT")}
    if not (values["AT"] or values["COUNT"]):
        return
    hook = Hook(int(values["AT"] or 0), float(values["DELAY"] or 0), values["GROUP"] == "1")
    sys.addaudithook(hook)
    if values["COUNT"]:
        atexit.register(lambda: Path(values["COUNT"]).write_text(str(hook.done), encoding="utf-8"))


install()
