"""Signals that stop a command: one clean end for all of them, and a last line that says how to go on.

Imports nothing heavy: it is at work before the commands are imported.
"""

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread, current_thread, main_thread
from types import FrameType
from typing import TextIO

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE = 4.0  # seconds that a command may take to end cleanly
KEEP_GRACE = 12.0  # for one that keeps what it wrote: a stream gives up waiting for a frame after 10
DOUBLE = 0.2  # seconds in which a second signal is the first once more: `timeout` sends it twice

RESUMES = "The same command resumes."
ENDINGS = {  # what follows "Interrupted." as the last line of a command; nothing for all others
    "train": RESUMES,
    "distill": RESUMES,
    "study": RESUMES,
    "cross-source": RESUMES,
    "tune": RESUMES,
    "demo": RESUMES,
    "explain": RESUMES,
    "predict": "No record is written; the same command starts over.",
    "video": "What was written until then is kept.",
    "data audit": "The same command starts over.",
    "data split": RESUMES,
    "data leakage": RESUMES,
    "bundle": "Nothing is written; the same command starts over.",
    "models fetch": "Nothing is written; the same command starts over.",
}
CLEAR_LINE = "\r\x1b[2K\x1b[?25h"  # the terminal's ^C or a progress bar, and the cursor that the bar hid


class Interrupted(BaseException):  # as KeyboardInterrupt: no `except Exception` may hold it up
    """A signal asks the command to stop."""


class _Stop:
    """What is known of the signals of this process."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the first signal
        self.raised = False
        self.held = False
        self.keeps = False  # the command ends by itself after the first signal, and keeps what it wrote
        self.kept = False  # it was asked to
        self.ending: Callable[[], str] | None = None

    def receive(self, number: int, _: FrameType | None = None) -> None:
        """The handler: Python calls it in the main thread, between two steps of the interpreter."""
        repeated = self.number is not None
        self.number = self.number or number
        if self.keeps and not repeated:
            self.kept = True
        elif not self.held:
            self.raise_once()

    def raise_once(self) -> None:
        if not self.raised:  # once: the clean-up of the first is not to be interrupted
            self.raised = True
            raise Interrupted

    def ends(self) -> bool:
        """Whether the process ends as interrupted: not with the ^C that is the usual end of a camera."""
        usual = self.kept and not self.raised and self.number == signal.SIGINT
        return self.number is not None and not usual


_stop = _Stop()
_caught = False
_leaving = Lock()  # taken once, by the thread that ends the process


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let the signals that stop a process end the block, and the process with 128 + the signal's number.

    The first one raises `Interrupted` in the main thread, so that the block cleans up; its last line on
    stderr says how to go on. Where that takes longer than GRACE, as inside a long call of a library, or with
    a second signal, the process ends at once. A signal that the process was started to ignore stays ignored.
    """
    global _stop, _caught
    if not _caught and current_thread() is main_thread():
        _stop, _caught = _Stop(), True
        with _catch(_stop), _end_when_interrupted():
            yield
    else:  # a second call is nearer to what the signal interrupts
        with _end_when_interrupted():
            yield


@contextmanager
def _catch(stop: _Stop) -> Iterator[None]:
    """Receive the signals in the block; leave them as they were after it."""
    global _caught
    before = {s: signal.signal(s, stop.receive) for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN}
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    Thread(target=_watch, args=(receiver, stop), name="threeages-signals", daemon=True).start()
    try:
        yield
    finally:
        _caught = False
        if stop.number is None:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            sender.close()


@contextmanager
def _end_when_interrupted() -> Iterator[None]:
    try:
        yield
    except BaseException:
        if not _stop.ends():  # what a library makes of an interruption is of no use to the user
            raise
    if _stop.ends():
        # generators that the exception left behind end here: their progress bars, pools and open files
        gc.collect()
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        _leave(_stop.number or 0, _stop)


@contextmanager
def keep_what_is_written() -> Iterator[Callable[[], bool]]:
    """Tells whether a first signal came: the block then ends by itself. A second one raises `Interrupted`.

    ^C is the usual end of a camera: it is no error, while the other signals give their exit code.
    """
    _stop.keeps = True
    try:
        yield lambda: _stop.number is not None
    finally:
        _stop.keeps = False


@contextmanager
def hold_signals() -> Iterator[None]:
    """Put off `Interrupted` to the end of the block."""
    _stop.held = True
    try:
        yield
    finally:
        _stop.held = False
    if _stop.ends():
        _stop.raise_once()


def say_when_interrupted(ending: Callable[[], str]) -> None:
    """Give the sentence that follows "Interrupted." in the last line."""
    _stop.ending = ending


def find_ending() -> str:
    """What follows "Interrupted." for the command in the arguments of the process."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    name = " ".join(words[: 2 if words[:1] in (["data"], ["models"]) else 1])
    return ENDINGS.get(name, "")


def _watch(receiver: socket.socket, stop: _Stop) -> None:
    """A thread: end the process where the first signal did not, or with the second.

    Python's handlers wait for the main thread, which may be inside a library; the byte that each signal
    writes into the socket does not.
    """
    with receiver:
        number = _receive(receiver)
        if number is not None:
            _wait_for_end(receiver, stop)
            _leave(number, stop)


def _wait_for_end(receiver: socket.socket, stop: _Stop) -> None:
    """Return once a stopped command has had its time, or is asked once more."""
    deadline = time.monotonic() + (KEEP_GRACE if stop.keeps else GRACE)
    tolerated = 1 if stop.keeps else 0
    last = time.monotonic()
    while (left := deadline - time.monotonic()) > 0:
        receiver.settimeout(left)
        if _receive(receiver) is None or time.monotonic() - last < DOUBLE:
            continue
        if not tolerated:
            break
        tolerated, last = 0, time.monotonic()
        deadline = min(deadline, last + GRACE)


def _receive(receiver: socket.socket) -> int | None:
    """The number of the next signal that stops; None where none comes in time."""
    try:
        while received := receiver.recv(1):
            if received[0] in SIGNALS:
                return received[0]
    except TimeoutError:
        pass
    return None


def _leave(number: int, stop: _Stop) -> None:
    """End without the interpreter's own clean-up, which waits for threads and would print after the line."""
    if not _leaving.acquire(blocking=False):
        time.sleep(GRACE)  # the other thread of the two ends the process, and has said so
    text = f"Interrupted. {(stop.ending or find_ending)()}".rstrip() + "\n"
    with suppress(OSError, ValueError, AttributeError):  # stderr is closed
        terminal = sys.stderr.isatty() and os.name != "nt"
        if os.name == "nt" or select.select([], [2], [], 0)[1]:  # nobody may read a pipe that is full
            os.write(2, ((CLEAR_LINE if terminal else "") + text).encode())
    os._exit(128 + number)


def _flush(stream: TextIO) -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or a pipe that nobody reads
        stream.flush()
