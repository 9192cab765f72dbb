"""Image paths of a command's arguments: files, folders, globs and lists."""

import codecs
import glob
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import typer

from threeages.errors import DataError
from threeages.faces.folders import FoundFiles, describe_passed_over, find_images, match_images
from threeages.faces.images import SUFFIXES
from threeages.files.csvfiles import utf16_name

_QUOTES = "\"'\u201c\u201d\u2018\u2019"  # straight and typographic


def expand_sources(sources: Sequence[str], stdin: TextIO) -> list[Path] | Iterator[Path]:
    """Image paths of files, folders (with their subfolders), globs and, for '-', the lines of `stdin`.

    With '-' the paths come one by one, each as soon as its line is there. A plain path that does not exist is
    kept: its record then has the status `missing`. What a folder or a glob holds beside images is counted in
    one line on stderr. Raises DataError for a folder without images and a glob without matches.
    """
    passed_over: Counter[str] = Counter()
    try:
        found = [
            read_list(_own_stream(stdin)) if source == "-" else _expand(source, passed_over)
            for source in sources
        ]
    finally:
        show_passed_over(passed_over)
    paths = chain.from_iterable(found)
    return paths if "-" in sources else list(paths)


def show_passed_over(passed_over: Counter[str]) -> None:
    """Count on stderr, in one line, the files that were no images."""
    if line := describe_passed_over(passed_over):
        typer.echo(line, err=True)


def _own_stream(stdin: TextIO) -> BinaryIO | TextIO:
    """The same input under another buffer: a thread that waits in that of `sys.stdin` stops Python's exit."""
    try:
        number = stdin.fileno()
    except (OSError, ValueError):  # no file of the system
        return getattr(stdin, "buffer", stdin)
    return os.fdopen(number, "rb", closefd=False)


def _expand(source: str, passed_over: Counter[str]) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        found = find_images(path)
        what = f"The folder {source} holds no images."
    elif path.exists() or not glob.has_magic(source):
        return [path]
    else:
        found = match_images(source)
        what = f"No image matches {source}."
    passed_over += found.passed_over()
    return _sorted_images(found, what)


def _sorted_images(found: FoundFiles, what: str) -> list[Path]:
    if not found.images:
        raise DataError(
            what, hint=f"Looked for {', '.join(sorted(SUFFIXES))}, and for images by their content."
        )
    return sorted(found.images)


def read_list(stream: BinaryIO | TextIO) -> Iterator[Path]:
    """Paths of a list as they arrive, one a line; empty lines are skipped.

    The list is UTF-8 or UTF-16, with or without a byte order mark; other bytes are kept as they are, as a
    file's name may hold them. Lines end in LF, CRLF or, from `find -print0`, NUL. Quotes around a path and
    white space around it are dropped, unless a file has that name. A line that starts with '#' is a path.
    """
    for line in _lines(stream):
        yield from (_as_path(part) for part in re.split(r"[\r\n\0]", line) if part.strip())


def _lines(stream: BinaryIO | TextIO) -> Iterator[str]:
    """Text of a list, a line or more at a time."""
    if isinstance(stream, io.TextIOBase):
        yield from stream
        return
    binary = cast("BinaryIO", stream)
    head = binary.read(2)
    if name := utf16_name(head):
        yield (head + binary.read()).decode(name, "replace").removeprefix("\ufeff")
        return
    for line in chain([head + binary.readline()], binary):
        yield line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _as_path(text: str) -> Path:
    """The path that a line names: as written where that exists, else without spaces and quotes."""
    name = text.strip()
    if len(name) > 2 and name[0] in _QUOTES and name[-1] in _QUOTES:
        name = name[1:-1]
    spellings = [name, text, name.replace("\\", "/"), _as_windows_text(name)]
    if len(set(spellings)) == 1:
        return Path(name)
    return next((Path(spelling) for spelling in spellings if _exists(spelling)), Path(name))


def _as_windows_text(name: str) -> str:
    """The name in Windows-1252 where its bytes are no UTF-8."""
    return (
        os.fsencode(name).decode("cp1252", "replace")
        if any("\udc80" <= c <= "\udcff" for c in name)
        else name
    )


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError:  # a name too long
        return False
