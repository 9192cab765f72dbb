"""Image paths of a command's arguments: files, folders, globs and lists."""

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from threeages.errors import DataError
from threeages.faces.images import SUFFIXES


def expand_sources(sources: Sequence[str], stdin: TextIO) -> list[Path] | Iterator[Path]:
    """Image paths of files, folders (with their subfolders), globs and, for '-', the lines of `stdin`.

    With '-' the paths come one by one, each as soon as its line is there. A plain path that does not exist is
    kept: its record then has the status `missing`. Raises DataError for a folder without images and a glob
    without matches.
    """
    found = chain.from_iterable([_read_list(stdin) if s == "-" else _expand(s) for s in sources])
    return found if "-" in sources else list(found)


def _read_list(stdin: TextIO) -> Iterator[Path]:
    return (Path(line.strip()) for line in _own_stream(stdin) if line.strip())


def _own_stream(stdin: TextIO) -> TextIO:
    """The same input under another buffer: a thread that waits in that of `sys.stdin` stops Python's exit."""
    try:
        number = stdin.fileno()
    except (OSError, ValueError):  # no file of the system
        return stdin
    return os.fdopen(number, encoding=stdin.encoding, errors=stdin.errors, closefd=False)


def _expand(source: str) -> list[Path]:
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
