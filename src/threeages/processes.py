"""Processes that share work on images; they end with the process that started them, whatever ended it."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, get_all_start_methods, get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from threading import Thread, current_thread, main_thread
from typing import Any, TypeVar

from threeages.errors import DataError
from threeages.faces.process import configure_process

# what stops a command; a terminal sends the first to the children as well, and the command ends them itself
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
T = TypeVar("T")
WARNINGS = "PYTHONWARNINGS"  # read by an interpreter that starts


@contextmanager
def start_processes(number: int, module: str | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of `number` processes for the block; an exception in it ends them at once, in their tasks.

    They come from a fork server, which imports `module` once: a plain fork would copy the threads that
    onnxruntime or torch hold in the caller. They leave signals to the caller, and end with it. Raises
    DataError where the system ended one of them.
    """
    forks = "forkserver" in get_all_start_methods()  # Windows has none
    context = get_context("forkserver" if forks else "spawn")
    if forks:
        _start_fork_server(module)
    pool = _Pool(number, mp_context=context, initializer=_prepare)
    try:
        yield pool
    except BaseException as error:
        _kill(pool)
        if isinstance(error, BrokenProcessPool):
            raise DataError(
                "The system ended a process that shared the work, as it does when memory runs out.",
                hint="Close other programs, and start the same command again: what was finished is kept.",
            ) from error
        raise
    pool.shutdown()


class _Pool(ProcessPoolExecutor):
    """It starts its processes whole: one that a signal's exception leaves half started prints a traceback."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a task, for which a process may be started."""
        with _put_off_signals():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _put_off_signals() -> Iterator[None]:
    """Let the caller's handlers of signals run at the end of the block."""
    came: list[int] = []
    caught = STOP_SIGNALS if current_thread() is main_thread() else ()
    handled = [number for number in caught if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came and callable(handler := before[came[0]]):
        handler(came[0], None)  # raised once more, it would count as a second signal


def follow_parent() -> None:
    """In a process that another started: end when that ends, and leave the signals that stop it to that.

    A process that waits for its next task would otherwise never learn that nobody is left to send one.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), name="threeages-parent", daemon=True).start()


def _prepare() -> None:
    follow_parent()
    configure_process()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # a plain exit would wait for the task


def _kill(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())  # Python 3.14 has a method for it
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _start_fork_server(module: str | None) -> None:
    """Start it, where none runs, so that signals reach neither it nor the processes that it forks.

    They inherit the mask of signals; what the initializer of a process sets would come too late for one that
    still imports its modules.
    """
    if module:
        forkserver.set_forkserver_preload([module])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        _start_resource_tracker()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_resource_tracker() -> None:
    """Start the process that frees the semaphores of a killed pool; it need not say that it did."""
    given = os.environ.get(WARNINGS)
    os.environ[WARNINGS] = ",".join(filter(None, (given, "ignore:resource_tracker")))
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ.pop(WARNINGS) if given is None else os.environ.update({WARNINGS: given})
