"""Files that take their name when they are whole, and what killed processes left of them."""

import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from threeages.files.disk import flush_to_disk, write_error

PART = ".part"  # ends the name of what is still being written
# no file is written for a day: an older part belongs to a process that was killed
LEFTOVER_SECONDS = 24 * 3600
_PART_NAME = re.compile(rf"\.(?P<name>.+)\.(?P<process>\d+){re.escape(PART)}(\.\w+)?", re.DOTALL)


class atomic_path:  # noqa: N801 - reads as a function at the call
    """Yield a sibling path to write to; it takes the final name only when the block ends well.

    With `durable` its bytes are on the disk before it takes the name, so that a loss of power leaves the old
    file or the new one. `suffix` ends the sibling's name where a library chooses the format by it. Parts that
    killed processes left for the same name are removed first, unless `clean` is False: looking for them lists
    the folder, which is slow where it gets many files. Raises DataError when the folder cannot be written or
    the disk is full; `need` is the number of bytes that it names then.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = False,
        need: int | None = None,
        suffix: str = "",
        clean: bool = True,
    ) -> None:
        self.path = path
        self.durable = durable
        self.need = need
        self.clean = clean
        self.part = name_part(path, suffix)

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for part in find_leftovers(self.path) if self.clean else ():
                part.unlink(missing_ok=True)
            self.part.touch()
        except OSError as error:
            raise write_error(self.path, error, need=self.need) from error
        return self.part

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                if self.durable:
                    flush_to_disk(self.part)
                self.place()
            except OSError as failure:  # a folder of that name, a file held open on Windows
                self._remove_part()
                raise write_error(self.path, failure, need=self.need) from failure
            return
        self._remove_part()
        if isinstance(error, OSError):
            raise write_error(self.path, error, need=self.need) from error

    def place(self) -> None:
        """Give the part the final name; raises OSError."""
        self.part.replace(self.path)

    def _remove_part(self) -> None:
        with suppress(OSError):  # a disk that became read-only, a folder that is gone
            self.part.unlink(missing_ok=True)


class new_path(atomic_path):  # noqa: N801 - as atomic_path
    """As `atomic_path`, but what has the name is kept: the new file gets a number in its name then.

    `path` is the file's name once the block has ended. What killed processes left stays: a caller that writes
    thousands of files into a folder calls `remove_leftovers` once.
    """

    def __init__(self, path: Path, *, need: int | None = None) -> None:
        super().__init__(path, need=need, clean=False)

    def place(self) -> None:
        """Give the part the first free name."""
        self.path = take_free_name(self.path, lambda path: _move_to_new(self.part, path))


def take_free_name(path: Path, create: Callable[[Path], None]) -> Path:
    """Create a file at `path`, or with a number in its name where that is taken; the path that it got.

    `create` raises FileExistsError for a name that is taken.
    """
    for number in itertools.count(1):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with suppress(FileExistsError):
            create(free)
            return free
    raise AssertionError  # the numbers do not end


def _move_to_new(part: Path, path: Path) -> None:
    """Rename a file to a name that is not taken; raises FileExistsError where it is."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links, such as a memory card: the name is taken, then filled
        path.touch(exist_ok=False)
        part.replace(path)
    else:
        part.unlink()


def name_part(path: Path, suffix: str = "") -> Path:
    """The sibling of `path` that this process writes to until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}{PART}{suffix}")


def find_leftovers(path: Path) -> Iterator[Path]:
    """The parts of `path` beside it whose writer was killed: its process is gone, or the part a day old."""
    return _find_parts(path.parent, path.name)


def remove_leftovers(folder: Path) -> None:
    """Remove the parts of all files of a folder that killed processes left; none where it cannot be read."""
    with suppress(OSError):
        for part in _find_parts(folder):
            part.unlink(missing_ok=True)


def _find_parts(folder: Path, name: str | None = None) -> Iterator[Path]:
    for part in folder.glob(f".*{PART}*"):
        match = _PART_NAME.fullmatch(part.name)
        if match and name in {None, match["name"]} and _is_leftover(part, int(match["process"])):
            yield part


def _is_leftover(part: Path, process: int) -> bool:
    try:
        if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS:
            return True
        if sys.platform == "win32":  # there a signal of any number ends the process
            return False
        os.kill(process, 0)
    except (FileNotFoundError, PermissionError):  # written whole by now; of another user's process
        return False
    except (ProcessLookupError, OverflowError):
        return True
    return False
