"""Image paths of a command's arguments: files, folders, globs and lists."""

import glob
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TextIO

from threeages.errors import DataError
from threeages.faces.images import SUFFIXES

CHUNK = 2**16  # bytes of stdin


def expand_sources(sources: Sequence[str], stdin: TextIO) -> list[Path] | Iterator[Path]:
    """Image paths of files, folders (with their subfolders), globs and, for '-', the lines of `stdin`.

    With '-' the paths come one by one, each as soon as its line is there. A plain path that does not exist is
    kept: its record then has the status `missing`. Raises DataError for a folder without images and a glob
    without matches.
    """
    found = chain.from_iterable([_read_list(stdin) if s == "-" else _expand(s) for s in sources])
    return found if "-" in sources else list(found)


def _read_list(stdin: TextIO) -> Iterator[Path]:
    return (Path(line.strip()) for line in _read_lines(stdin) if line.strip())


def _read_lines(stdin: TextIO) -> Iterator[str]:
    """Lines as they come. A thread that waits in a buffered read would block the end of the process."""
    raw = getattr(getattr(stdin, "buffer", None), "raw", None)
    if raw is None:
        yield from stdin
        return
    decoder = getincrementaldecoder(stdin.encoding)(stdin.errors or "strict")
    rest = ""
    while chunk := raw.read(CHUNK):
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        yield from lines
    yield rest + decoder.decode(b"", final=True)


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
