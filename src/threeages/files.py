"""Files that are written whole or not at all, the space they need, and their checksums."""

import errno
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from threeages.errors import DataError

PART = ".part"  # ends the name of what is still being written
LEFTOVER_SECONDS = (
    24 * 3600
)  # no file is written for a day: an older part belongs to a process that was killed
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # Windows' "disk full" is mapped to ENOSPC by Python
BLOCK = 1 << 24  # bytes of a file that are read at once for its checksum


class atomic_path:  # noqa: N801 - reads as a function at the call
    """Yield a sibling path to write to; it takes the final name only when the block ends well.

    With `durable` its bytes are on the disk before it takes the name, so that a loss of power leaves the old
    file or the new one. Parts that killed processes left for the same name are removed first, unless `clean`
    is False: looking for them lists the folder, which is slow where it gets many files. Raises DataError when
    the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path, *, durable: bool = False, clean: bool = True) -> None:
        self.path = path
        self.durable = durable
        self.clean = clean
        self.part = path.with_name(f".{path.name}.{os.getpid()}{PART}")

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for part in find_leftovers(self.path) if self.clean else ():
                part.unlink(missing_ok=True)
            self.part.touch()
        except OSError as error:
            raise write_error(self.path, error) from error
        return self.part

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                if self.durable:
                    flush_to_disk(self.part)
                self.part.replace(self.path)
            except OSError as failure:  # a folder of that name, a file held open on Windows
                self.part.unlink(missing_ok=True)
                raise write_error(self.path, failure) from failure
            return
        self.part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(self.path, error) from error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole and durably; raises DataError, which says how many bytes a full disk lacks."""
    with atomic_path(path, durable=True) as part:
        try:
            part.write_bytes(content)
        except OSError as error:
            raise write_error(path, error, need=len(content)) from error


def write_json(path: Path, content: Any) -> None:
    """Write indented json whole and durably; raises DataError where it cannot be written."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


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
    if error.errno not in FULL:
        return DataError(
            f"Cannot write {path}: {error.strerror or error}.",
            hint="Give a folder you may write to, on a disk with room.",
        )
    return full_disk_error(path, need)


def full_disk_error(path: Path, need: int | None = None) -> DataError:
    """The disk below `path` has no room for the `need` bytes of it."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path(path.anchor))
    wanted = f"it needs {format_bytes(need)}, and " if need is not None else ""
    return DataError(
        f"Cannot write {path}: the disk is full; {wanted}{folder} has "
        f"{format_bytes(shutil.disk_usage(folder).free)} free.",
        hint="Make room or name another folder, and start the same command again: what was finished is kept.",
    )


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


def find_leftovers(path: Path) -> Iterator[Path]:
    """The parts of `path` beside it whose writer was killed: its process is gone, or the part a day old."""
    before = f".{path.name}."
    for part in path.parent.glob(f".*{PART}"):
        number = part.name.removeprefix(before).removesuffix(PART)
        if part.name.startswith(before) and number.isdecimal() and _is_leftover(part, int(number)):
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


def checksum(path: Path) -> str:
    """A digest of a file's content against damage, not against attackers: CRC-32 of its blocks, in order.

    The blocks are read by as many threads as there are processors, about as fast as they come from memory.
    """
    size = path.stat().st_size
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda start: _checksum_block(path, start), range(0, size, BLOCK))
        whole = b"".join(crc.to_bytes(4, "big") for crc in found)
    return f"{zlib.crc32(whole):08x}-{size}"


def _checksum_block(path: Path, start: int) -> int:
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(BLOCK))
