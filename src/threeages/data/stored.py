"""Where the caches of pixels and features lie, what they hold on disk, and its removal."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from platformdirs import user_cache_path

PIXELS_FOLDER, FEATURES_FOLDER = (user_cache_path("threeages") / name for name in ("pixels", "features"))
PIXELS_FILE = "pixels.npy"  # in a folder named by its key
PART = ".part"  # ends the name of what is still being written
FEATURES_FILE = "features-{}.npy"  # named by its key


@dataclass(frozen=True)
class Stored:
    """One cached set of pixels (a folder) or features (a file), its bytes and the day it was made."""

    path: Path
    size: int
    made: date


def find_stored(folder: Path | None = None) -> list[Stored]:
    """The caches in `folder`, or in their default folders, the largest first."""
    whole = (path.parent for path in (folder or PIXELS_FOLDER).glob(f"*/{PIXELS_FILE}"))
    paths = [path for path in whole if path.suffix != PART]  # another process may be at work on a part
    paths += (folder or FEATURES_FOLDER).glob(FEATURES_FILE.format("*"))
    return sorted(map(_measure, paths), key=lambda stored: -stored.size)


def remove_stored(entries: Iterable[Stored]) -> None:
    """Delete the entries and nothing else in their folders; they are computed again when needed."""
    for stored in entries:
        shutil.rmtree(stored.path) if stored.path.is_dir() else stored.path.unlink(missing_ok=True)


def _measure(path: Path) -> Stored:
    files = [path, *path.glob("*")]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return Stored(path, size, date.fromtimestamp(path.stat().st_mtime))
