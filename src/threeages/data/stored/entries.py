"""An entry of a cache: a folder with checksums of its files, a lock beside it, marks of who uses it."""

import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, describe_cause
from threeages.files.atomic import PART
from threeages.files.checksums import checksum, matches_checksum
from threeages.files.disk import write_error
from threeages.files.locks import hold_lock, is_held, take_lock
from threeages.files.writing import write_json

logger = logging.getLogger(__name__)
LOCKS = ".locks"  # the folder of locks and marks, beside the entries
CHECKSUMS = ".checksums.json"
REMOVED = ".removed"  # ends the name of an entry that is being deleted
PATIENCE = 2.0  # seconds that another process may take to check an entry before a warning says so
_LOCK, _USED = ".lock", ".used"


class OpenEntry:
    """The folder `path` of a whole entry, marked as in use until this and its mapped arrays are gone."""

    def __init__(self, path: Path, release: Callable[[], None] | None = None) -> None:
        self.path = path
        if release:
            weakref.finalize(self, release)

    def map_array(self, name: str) -> NDArray[Any]:
        """The array of that file, memory-mapped, read-only."""
        array = self._load(name, "r")
        weakref.finalize(array, _keep, self)
        return array

    def load_array(self, name: str) -> NDArray[Any]:
        """The array of that file, in memory."""
        return self._load(name, None)

    def load_json(self, name: str) -> Any:
        """The content of that json file."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except OSError as error:
            raise _read_error(self.path / name, error) from error

    def _load(self, name: str, mode: Any) -> NDArray[Any]:
        try:
            found: NDArray[Any] = np.load(self.path / name, mmap_mode=mode)
        except OSError as error:
            raise _read_error(self.path / name, error) from error
        return found


def _keep(_: OpenEntry) -> None:
    """The call holds the entry as long as the array lives; there is nothing to do at its end."""


def _read_error(path: Path, error: OSError) -> DataError:
    return DataError(
        f"Cannot read {path}: {describe_cause(error)}.",
        hint="Start the same command again: what is missing of a cache is built again.",
    )


def lock_file(place: Path) -> Path:
    """The lock of an entry, which whoever builds, checks or deletes it holds."""
    return place.parent / LOCKS / f"{place.name}{_LOCK}"


def hold_entry(place: Path, *, wait: bool = False) -> AbstractContextManager[None]:
    """Hold the lock of an entry; raises BusyError where another process does, unless it is to `wait`."""
    message = f"Another process is at work on {place}: waiting for it."
    return hold_lock(lock_file(place), message, wait=wait, patience=PATIENCE)


def can_lock(place: Path) -> bool:
    """Whether this process may hold the lock of an entry: not in a folder that it can only read."""
    lock = lock_file(place)
    return os.access(next(p for p in (lock, *lock.absolute().parents) if exists(p)), os.W_OK)


def exists(path: Path) -> bool:
    """Whether something has that name; False in a folder that this user may not look into."""
    return os.path.lexists(path)


def mark_used(place: Path) -> Callable[[], None]:
    """Mark an entry, whose lock is held, as in use until the function returned is called.

    The mark is a locked file, so that the system takes it away when this process ends, however.
    """
    marks = _find_marks(place)
    try:
        is_used(place)  # removes the marks of processes that were killed
        marks.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=marks, suffix=_LOCK)
        os.close(number)
    except OSError as error:
        raise write_error(marks, error) from error
    release = take_lock(Path(name))

    def unmark() -> None:
        release()
        Path(name).unlink(missing_ok=True)

    return unmark


def is_used(place: Path) -> bool:
    """Whether a process uses an entry, whose lock is held; marks of processes that ended are removed."""
    used = False
    for mark in _find_marks(place).glob(f"*{_LOCK}"):
        if is_held(mark):
            used = True
        else:
            mark.unlink(missing_ok=True)
    return used


def _find_marks(place: Path) -> Path:
    return place.parent / LOCKS / f"{place.name}{_USED}"


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below a folder into it."""
    write_json(folder / CHECKSUMS, {"files": {name: checksum(folder / name) for name in _list_files(folder)}})


def find_damage(place: Path) -> str:
    """The name of the first file of an entry that is not as it was written; '' for a whole entry."""
    try:
        stored = json.loads((place / CHECKSUMS).read_text(encoding="utf-8"))
        files = list(stored["files"].items())
        return next((name for name, expected in files if not matches_checksum(place / name, expected)), "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return CHECKSUMS


def _list_files(folder: Path) -> list[str]:
    """Relative paths of the files, but for the hidden ones at the top, which describe the entry itself."""
    found = []
    for parent, _, names in os.walk(folder):
        paths = (Path(parent, name) for name in names)
        found += [path for path in paths if path.is_file() and not _is_own(path.relative_to(folder))]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _is_own(path: Path) -> bool:
    return len(path.parts) == 1 and path.name.startswith(".")


def part_of(place: Path) -> Path:
    """The folder in which an entry is built, before it takes its name."""
    return place.with_name(place.name + PART)


def remove_entry(place: Path) -> None:
    """Delete an entry or a part, whose lock is held; it loses its name first, so that no half is found."""
    gone = place.with_name(place.name + REMOVED)
    try:
        remove_path(gone)
        if exists(place):
            place.replace(gone)
            remove_path(gone)
    except OSError as error:
        raise delete_error(place, error) from error


def delete_error(path: Path, error: OSError) -> DataError:
    """What a user is told where an entry or a part cannot be deleted."""
    return DataError(
        f"Cannot delete {path}: {describe_cause(error)}.", hint="Check who owns the folder and its files."
    )


def remove_path(path: Path) -> None:
    """Delete a file or a folder with all it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
