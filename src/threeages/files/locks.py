"""Locks that keep two processes from writing one thing; a killed process leaves none behind."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from threeages.errors import DataError
from threeages.files.disk import write_error

logger = logging.getLogger(__name__)
RUN_LOCK = ".lock"  # in the folder that it keeps for one process


class BusyError(DataError):
    """Another process holds the lock."""


@contextmanager
def hold_lock(
    path: Path, message: str, *, hint: str = "", wait: bool = False, patience: float = 0.0
) -> Iterator[None]:
    """Hold the lock of that file for the block; the system gives it free when the process ends, however.

    Raises BusyError with `message` and `hint` where another process holds it. With `wait` it returns once
    that one is done, and logs the message if that takes more than `patience` seconds. Raises DataError where
    the folder cannot be written.
    """
    lock = _create(path)
    try:
        lock.acquire(timeout=patience if wait else 0)
    except Timeout as error:
        if not wait:
            raise BusyError(message, hint=hint) from error
        logger.warning("%s", message)
        lock.acquire()
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def take_lock(path: Path) -> Callable[[], None]:
    """Take the lock of that file until the function returned is called or the process ends, however.

    Any thread may call it. Raises BusyError where another process holds the lock, DataError where the folder
    cannot be written.
    """
    lock = _create(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"Another process holds {path}.") from error
    except OSError as error:
        raise write_error(path, error) from error
    return lock.release


def hold_folder(folder: Path) -> AbstractContextManager[None]:
    """The lock of a run's, a study's or a search's folder, for one process at a time."""
    return hold_lock(
        folder / RUN_LOCK,
        f"Another process is at work in {folder}.",
        hint="Wait until it ends, or give another --out folder.",
    )


def hold_file(path: Path) -> AbstractContextManager[None]:
    """The lock of a file to come, beside it, for one process at a time."""
    return hold_lock(
        path.with_name(f".{path.name}.lock"),
        f"Another process is at work on {path}.",
        hint="Wait until it ends, or give another --out.",
    )


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of that file."""
    try:
        with hold_lock(path, ""):
            return False
    except BusyError:
        return True


def _create(path: Path, *, thread_local: bool = True) -> FileLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    return FileLock(path, thread_local=thread_local)
