"""An entry of a cache is built where it is not there or damaged, and opened.

An entry is a folder named by a digest of all that decides about its content. It is built beside its final
place under a lock, gets checksums and takes its name when it is whole; every opening compares the checksums.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from platformdirs import user_cache_path

from threeages.data.stored.entries import (
    LOCKS,
    REMOVED,
    OpenEntry,
    can_lock,
    exists,
    find_damage,
    hold_entry,
    mark_used,
    part_of,
    remove_entry,
    remove_path,
    write_checksums,
)
from threeages.data.stored.partial import PROGRESS, is_resumable
from threeages.errors import DataError
from threeages.files.atomic import LEFTOVER_SECONDS, PART
from threeages.files.disk import write_error
from threeages.files.locks import BusyError

logger = logging.getLogger(__name__)
PIXELS_FOLDER, FEATURES_FOLDER = (user_cache_path("threeages") / name for name in ("pixels", "features"))
# begin the name of an entry, before its key
PIXELS, FEATURES, NEAR, EMBEDDINGS = "pixels-", "features-", "near-", "embeddings-"

Build = Callable[[Path], None]


def open_stored(place: Path, build: Build) -> OpenEntry:
    """Open the entry at `place`; `build` fills a folder with its files where it is not there or is damaged.

    The folder holds what a killed build finished, if that can be resumed, and nothing otherwise. A second
    process that needs the same entry waits for the first. Raises DataError where the folder cannot be
    written or the disk is full; what was finished (data.stored.partial) is kept then.
    """
    if not can_lock(place) and not find_damage(place):
        return OpenEntry(place)
    with hold_entry(place, wait=True):
        _remove_leftovers(place)
        if not _is_whole(place):
            _build(place, build)
        _try_to_remove(place / PROGRESS)
        return OpenEntry(place, mark_used(place))


def find_entry(place: Path) -> OpenEntry | None:
    """Open the entry at `place` where it is there; one that is damaged is deleted."""
    if not exists(place):
        return None
    if not can_lock(place):
        return None if find_damage(place) else OpenEntry(place)
    with hold_entry(place, wait=True):
        return OpenEntry(place, mark_used(place)) if _is_whole(place) else None


def _is_whole(place: Path) -> bool:
    """Whether the entry is there and undamaged; a damaged one is deleted."""
    if not exists(place):
        return False
    damaged = find_damage(place)
    if damaged:
        logger.warning("%s is damaged (%s): it is built again when it is needed.", place, damaged)
        remove_entry(place)
    return not damaged


def _build(place: Path, build: Build) -> None:
    part = part_of(place)
    try:
        if not is_resumable(part):
            remove_path(part)
        part.mkdir(parents=True, exist_ok=True)
        build(part)
        write_checksums(part)
        part.replace(place)
    except BaseException as error:
        if not is_resumable(part) or not _leaves_part(error):
            _try_to_remove(part)
        if isinstance(error, OSError):
            raise write_error(place, error) from error
        raise


def _leaves_part(error: BaseException) -> bool:
    """Whether the next start can go on: after a full disk or a stop, but not after what would fail again."""
    return isinstance(error, OSError | DataError) or not isinstance(error, Exception)


def _try_to_remove(path: Path) -> None:
    try:
        remove_path(path)
    except OSError:
        logger.warning("%s is left; threeages data cache --clear deletes it.", path)


def _remove_leftovers(place: Path) -> None:
    """Delete what killed processes left beside `place`, but for finished chunks that are not a day old."""
    for left in find_leftovers(place.parent):
        name = left.with_suffix("")
        if name == place or (is_resumable(left) and not _is_old(left / PROGRESS)):
            continue
        try:
            with hold_entry(name):
                _try_to_remove(left)
        except BusyError:
            continue
    _try_to_remove(place.with_name(place.name + REMOVED))


def find_leftovers(folder: Path) -> Iterator[Path]:
    """Parts and half-deleted entries in a folder, some of which processes may be at work on."""
    for lock in sorted((folder / LOCKS).glob("*.lock")):
        paths = (folder / (lock.stem + suffix) for suffix in (PART, REMOVED))
        yield from (path for path in paths if path.exists())


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFTOVER_SECONDS
    except OSError:
        return True
