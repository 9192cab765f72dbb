"""What a disk holds and refuses: room, blocks, and the sentences that say so."""

import errno
import os
import shutil
from pathlib import Path

from threeages.errors import DataError, describe_cause

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # Windows' "disk full" is mapped to ENOSPC by Python
FULL_BELOW = 1 << 16  # bytes; some file systems keep a few that no file gets
ELSEWHERE = "Give a folder you may write to, on a disk with room."
HINTS = {
    errno.EROFS: "That disk can only be read: name a folder on another one.",
    errno.ENOENT: "Its folder was removed meanwhile: name one that stays, and start the same command again.",
    errno.EISDIR: "A folder has that name: give another one.",
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR), "A file has the name of a folder in that path: give another one."
    ),
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EFBIG: "This disk takes no file of that size: name a folder on another one.",
    errno.EIO: "The disk fails, or the connection to it: name a folder on another one.",
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "Close other programs, or allow more open files ('ulimit -n' shows how many), and start again.",
    ),
}
NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
BLOCK = 1 << 24  # bytes of a file that are read at once for its checksum


def write_error(path: Path, error: OSError, *, need: int | None = None) -> DataError:
    """What a user is told where `path` cannot be written; `need` are the bytes that it takes, where known."""
    if error.errno in FULL:
        return full_disk_error(path, need, quota=error.errno == errno.EDQUOT)
    return DataError(
        f"Cannot write {path}: {describe_cause(error)}.", hint=HINTS.get(error.errno or 0, ELSEWHERE)
    )


def full_disk_error(path: Path, need: int | None = None, *, quota: bool = False) -> DataError:
    """The disk below `path` has no room for the `need` bytes of it, or the user's `quota` is used up."""
    folder = _nearest(path.absolute().parent)
    wanted = f"it needs {format_bytes(need)}, and " if need is not None else ""
    full = "your quota of the disk is used up" if quota else "the disk is full"
    free = format_bytes(shutil.disk_usage(folder).free)
    return DataError(
        f"Cannot write {path}: {full}; {wanted}{folder} has {free} free{' on the disk' if quota else ''}.",
        hint="Make room or name another folder, and start the same command again: what was finished is kept.",
    )


def is_full(path: Path) -> bool:
    """Whether the disk of a file has less room than one block of it takes."""
    return shutil.disk_usage(_nearest(path.absolute().parent)).free < FULL_BELOW


def check_room(path: Path, need: int) -> None:
    """Raise DataError where the disk below `path` lacks `need` bytes and a twentieth of them."""
    if shutil.disk_usage(_nearest(path.absolute())).free < need * 1.05:
        raise full_disk_error(path, need)


def _nearest(path: Path) -> Path:
    """The path itself where it exists, else the nearest folder above it that does."""
    return next((known for known in (path, *path.parents) if known.exists()), Path(path.anchor))


def format_bytes(number: int) -> str:
    """A size for people, in decimal units: `1.23 GB`, `45.6 MB`, `7.8 kB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 1000 * size else f"{number / size:,.0f} {unit}"
    return f"{number} bytes"


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
