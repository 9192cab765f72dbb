"""Files that are written whole or not at all, the space they need, and their checksums."""

import errno
import itertools
import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from threeages.errors import DataError, describe_cause

PART = ".part"  # ends the name of what is still being written
LEFTOVER_SECONDS = (
    24 * 3600
)  # no file is written for a day: an older part belongs to a process that was killed
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # Windows' "disk full" is mapped to ENOSPC by Python
FULL_BELOW = 1 << 16  # bytes; some file systems keep a few that no file gets
ELSEWHERE = "Give a folder you may write to, on a disk with room."
HINTS = {
    errno.EROFS: "That disk can only be read: name a folder on another one.",
    errno.ENOENT: "Its folder was removed meanwhile: name one that stays, and start the same command again.",
    errno.EISDIR: "A folder has that name: give another one.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EFBIG: "This disk takes no file of that size: name a folder on another one.",
    errno.EIO: "The disk fails, or the connection to it: name a folder on another one.",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "Close other programs, or allow more open files ('ulimit -n' shows how many), and start again.",
    ),
}
_PART_NAME = re.compile(rf"\.(?P<name>.+)\.(?P<process>\d+){re.escape(PART)}(\.\w+)?", re.DOTALL)
NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
BLOCK = 1 << 24  # bytes of a file that are read at once for its checksum


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


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole and durably; raises DataError, which says how many bytes a full disk lacks."""
    with atomic_path(path, durable=True, need=len(content)) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 whole and durably; raises DataError where it cannot be written."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented json whole and durably; raises DataError where it cannot be written."""
    write_text(path, format_json(content))


def format_json(content: Any) -> str:
    """Indented json that ends in a line break."""
    return json.dumps(content, indent=2) + "\n"


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: each takes its name when all of them are whole and on the disk.

    Raises DataError, and leaves every file as it was, where the disk is full.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            part = stack.enter_context(atomic_path(path, durable=True, need=len(content)))
            part.write_bytes(content)


def append_line(path: Path, line: str) -> None:
    """Add a line in UTF-8, which ends in its line break, to a file: whole, or not at all.

    Raises DataError where the file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            append_whole(file.fileno(), line.encode(errors="backslashreplace"))
    except OSError as error:
        raise write_error(path, error, need=len(line)) from error


def append_whole(file: int, content: bytes) -> None:
    """Add bytes to an open file of the system: what a full disk cuts is taken back; raises OSError.

    Nothing is taken back where another process has written behind it.
    """
    before, written = os.fstat(file).st_size, 0
    try:
        while written < len(content):
            written += os.write(file, content[written:])
    except OSError:
        if os.fstat(file).st_size == before + written:
            os.ftruncate(file, before)
        raise


def write_checked_json(path: Path, content: Any) -> None:
    """Write json with its checksum, whole and durably, for `read_checked_json`; raises DataError."""
    write_json(path, {"checksum": _checksum_json(content), "content": content})


def read_checked_json(path: Path) -> Any:
    """What `write_checked_json` wrote; None where there is no such file, or a damaged one."""
    try:
        held = json.loads(path.read_bytes())
        return held["content"] if held["checksum"] == _checksum_json(held["content"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checksum_json(content: Any) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def write_error(path: Path, error: OSError, *, need: int | None = None) -> DataError:
    """What a user is told where `path` cannot be written; `need` are the bytes that it takes, where known."""
    if error.errno in FULL:
        return full_disk_error(path, need, quota=error.errno == errno.EDQUOT)
    return DataError(
        f"Cannot write {path}: {describe_cause(error)}.", hint=HINTS.get(error.errno or 0, ELSEWHERE)
    )


def full_disk_error(path: Path, need: int | None = None, *, quota: bool = False) -> DataError:
    """The disk below `path` has no room for the `need` bytes of it, or the user's `quota` is used up."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path(path.anchor))
    wanted = f"it needs {format_bytes(need)}, and " if need is not None else ""
    full = "your quota of the disk is used up" if quota else "the disk is full"
    free = format_bytes(shutil.disk_usage(folder).free)
    return DataError(
        f"Cannot write {path}: {full}; {wanted}{folder} has {free} free{' on the disk' if quota else ''}.",
        hint="Make room or name another folder, and start the same command again: what was finished is kept.",
    )


def is_full(path: Path) -> bool:
    """Whether the disk of a file has less room than one block of it takes."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free < FULL_BELOW


def check_room(path: Path, need: int) -> None:
    """Raise DataError where the disk below `path` lacks `need` bytes and a twentieth of them."""
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if shutil.disk_usage(folder).free < need * 1.05:
        raise full_disk_error(path, need)


def format_bytes(number: int) -> str:
    """A size for people, in decimal units: `1.23 GB`, `45.6 MB`, `7.8 kB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 1000 * size else f"{number / size:,.0f} {unit}"
    return f"{number} bytes"


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


def flush_to_disk(path: Path) -> None:
    """Return when the content of the file is on the disk and not in memory alone."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def allocate(path: Path) -> None:
    """Give every byte of the file its place on the disk; its content stays.

    A file that is only as long as it should be, memory-mapped and filled, ends the process on a full disk.
    Raises OSError where the disk is full.
    """
    with path.open("rb+") as file:
        size = path.stat().st_size
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            except OSError as error:
                if error.errno not in NOT_SUPPORTED:
                    raise
        while block := file.read(BLOCK):
            file.seek(-len(block), os.SEEK_CUR)
            file.write(block)


def checksum(path: Path, size: int | None = None) -> str:
    """A digest of a file's content against damage, not against attackers: CRC-32 of its blocks, in order.

    `size` is the number of bytes from its start, all by default. The blocks are read by as many threads as
    there are processors, about as fast as they come from memory.
    """
    end = path.stat().st_size if size is None else size
    if end <= BLOCK:
        return checksum_bytes(_read_block(path, 0, end))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, end, BLOCK)
        found = pool.map(lambda start: zlib.crc32(_read_block(path, start, min(BLOCK, end - start))), starts)
        return _join_blocks(found, end)


def checksum_bytes(content: bytes) -> str:
    """The checksum of a file with that content."""
    found = (zlib.crc32(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK))
    return _join_blocks(found, len(content))


def _join_blocks(found: Iterable[int], size: int) -> str:
    whole = b"".join(crc.to_bytes(4, "big") for crc in found)
    return f"{zlib.crc32(whole):08x}-{size}"


def _read_block(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
