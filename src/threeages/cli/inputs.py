"""Image paths of a command's arguments: files, folders, globs and lists."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from threeages.errors import DataError
from threeages.faces.images import SUFFIXES


def expand_sources(sources: Sequence[str], stdin: TextIO) -> list[Path]:
    """Image paths of files, folders (with their subfolders), globs and, for '-', the lines of `stdin`.

    A plain path that does not exist is kept: its record then has the status `missing`. Raises DataError for a
    folder without images and a glob without matches.
    """
    return [path for source in sources for path in _expand(source, stdin)]


def _expand(source: str, stdin: TextIO) -> list[Path]:
    if source == "-":
        return [Path(line.strip()) for line in stdin if line.strip()]
    path = Path(source)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        what = f"The folder {source} holds no images."
    elif path.exists() or not glob.has_magic(source):
        return [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(source, recursive=True)) if p.is_file())  # noqa: PTH207 - Path.glob takes no absolute pattern
        what = f"No file matches {source}."
    if not found:
        raise DataError(what, hint=f"Looked for {', '.join(sorted(SUFFIXES))}.")
    return found
