"""The caches on disk: what each takes, and its removal."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from threeages.data.stored.entries import delete_error, hold_entry, is_used, remove_entry, remove_path
from threeages.data.stored.opening import EMBEDDINGS, FEATURES, FEATURES_FOLDER, NEAR, PIXELS, PIXELS_FOLDER
from threeages.errors import DataError, describe_cause
from threeages.files.atomic import PART
from threeages.files.locks import BusyError

_NAMES = re.compile(rf"({PIXELS}|{FEATURES}|{NEAR}|{EMBEDDINGS})[0-9a-f]{{24}}(\.part|\.removed)?")


@dataclass(frozen=True)
class Stored:
    """A cached set of pixels, features, near duplicates or embeddings, its bytes and the day it was made."""

    path: Path
    size: int
    made: date

    @property
    def unfinished(self) -> bool:
        """Whether it is still being built, or its build was stopped."""
        return self.path.suffix == PART


def find_stored(folder: Path | None = None) -> list[Stored]:
    """The caches in `folder`, or in their default folders, the largest first.

    Raises DataError where a folder cannot be read.
    """
    folders = (folder,) if folder else (PIXELS_FOLDER, FEATURES_FOLDER)
    found = [_measure(path) for each in folders for path in _list_entries(each)]
    return sorted((stored for stored in found if stored), key=lambda stored: (-stored.size, stored.path))


def remove_stored(entries: Iterable[Stored]) -> list[Stored]:
    """Delete the entries that no process uses and nothing else; those that are used are returned.

    Raises DataError where one cannot be deleted.
    """
    return [stored for stored in entries if not _remove(stored.path) and stored.path.exists()]


def _remove(path: Path) -> bool:
    """Whether it was free to be deleted."""
    place = path.with_suffix("")
    if not path.exists():  # another process was faster
        return True
    try:
        with hold_entry(place):
            if path == place and is_used(place):
                return False
            remove_entry(path) if path == place else remove_path(path)
    except BusyError:
        return False
    except OSError as error:
        raise delete_error(path, error) from error
    return True


def _list_entries(folder: Path) -> Iterator[Path]:
    try:
        yield from (path for path in folder.iterdir() if _NAMES.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(
            f"Cannot read {folder}: {describe_cause(error)}.", hint="Check its permissions."
        ) from error


def _measure(path: Path) -> Stored | None:
    """None for what another process deletes at the moment."""
    try:
        size = sum(file.stat().st_size for file in (path, *path.glob("*")) if file.is_file())
        return Stored(path, size, date.fromtimestamp(path.stat().st_mtime))
    except OSError:
        return None
