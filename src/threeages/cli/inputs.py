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
from threeages.faces.folders import (
    FoundFiles,
    count_candidates,
    describe_passed_over,
    find_images,
    iterate_images,
    match_images,
)
from threeages.faces.images import SUFFIXES
from threeages.files.csvfiles import utf16_name
from threeages.files.remote import is_remote
from threeages.inference.bulk.listings import PARQUET, TAR, ListingReader, damaged, is_listing
from threeages.inference.bulk.parquets import count_rows
from threeages.inference.bulk.remotes import read_remote_source
from threeages.inference.bulk.tars import count_members
from threeages.inference.sources import Source

TEXT = (".txt", ".lst", ".list")  # a path a line

_QUOTES = "\"'\u201c\u201d\u2018\u2019"  # straight and typographic


def expand_sources(
    sources: Sequence[str], stdin: TextIO, *, reader: ListingReader | None = None, lazy: bool = False
) -> list[Path] | Iterator[Path | Source]:
    """Images of files, folders (with their subfolders), globs, listings and, for '-', the lines of `stdin`.

    With '-' or a listing (text, csv, JSON lines, tar or parquet) the images come one by one, and with `lazy`
    always: of a folder then as the disk lists them. A plain path that does not exist is kept: its record then
    has the status `missing`. What a folder or a glob holds beside images is counted in one line on stderr;
    what is found later is kept by the `reader`. Raises DataError for a folder without images and a glob
    without matches.
    """
    reader = reader or ListingReader()
    passed_over: Counter[str] = Counter()
    try:
        found: list[list[Path] | Iterator[Path | Source]] = [
            _with_root(read_list(_own_stream(stdin)), reader)
            if source == "-"
            else _expand(source, passed_over, reader, lazy)
            for source in sources
        ]
    finally:
        show_passed_over(passed_over)
    lists = [part for part in found if isinstance(part, list)]
    return list(chain.from_iterable(lists)) if len(lists) == len(found) else chain.from_iterable(found)


def count_inputs(sources: Sequence[str]) -> int | None:
    """About as many images as the sources hold; None where that is not known before they are read."""
    counts = [_count(Path(source), source) for source in sources]
    return None if None in counts else sum(count or 0 for count in counts)


def _count(path: Path, source: str) -> int | None:
    name = path.name.lower()
    if source == "-" or is_remote(source):
        return None
    if path.is_dir():
        return count_candidates(path)
    if not path.exists() and glob.has_magic(source):
        return count_inputs(sorted(glob.glob(source, recursive=True)))  # noqa: PTH207 - as in match_images
    if not path.is_file() or not _is_list(path):
        return 1
    if name.endswith(TAR):
        return count_members(path)
    return count_rows(path) if name.endswith(PARQUET) else _count_lines(path)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


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


def _is_list(path: Path) -> bool:
    return is_listing(path) or path.name.lower().endswith(TEXT)


def _expand(
    source: str, passed_over: Counter[str], reader: ListingReader, lazy: bool
) -> list[Path] | Iterator[Path | Source]:
    path = Path(source)
    if is_remote(source):
        return read_remote_source(source, reader, _is_list, _read_listing)
    if path.is_file() and _is_list(path):
        return _read_listing(path, reader)
    if path.is_dir():
        if lazy:
            return _walk_folder(path, reader)
        found = find_images(path)
        what = f"The folder {source} holds no images."
    elif path.exists() or not glob.has_magic(source):
        return [path]
    elif _is_list(Path(source)):
        return _read_listings(source, reader)
    else:
        found = match_images(source)
        what = f"No image matches {source}."
    passed_over += found.passed_over()
    return _sorted_images(found, what)


def _walk_folder(folder: Path, reader: ListingReader) -> Iterator[Path]:
    """The images of a folder as they are found; an empty one is a problem of the reader."""
    images = iterate_images(folder, reader.passed_over)
    first = next(images, None)
    if first is None:
        reader.problems.append(DataError(f"The folder {folder} holds no images.", hint=_looked_for()))
        return
    yield first
    yield from images


def _read_listings(pattern: str, reader: ListingReader) -> Iterator[Path | Source]:
    paths = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute one
    if not paths:
        raise DataError(f"No file matches {pattern}.", hint="Check the pattern.")
    return chain.from_iterable(_read_listing(path, reader) for path in paths)


def _read_listing(path: Path, reader: ListingReader) -> Iterator[Path | Source]:
    """The images of a listing; a text with a path a line is read as that of stdin."""
    if is_listing(path):
        return reader.read(path)
    return _with_root(_read_text(path, reader), reader)


def _read_text(path: Path, reader: ListingReader) -> Iterator[str | Path]:
    try:
        with path.open("rb") as file:
            yield from read_list(file)
    except OSError as error:
        reader.problems.append(damaged(path, error))


def _with_root(paths: Iterator[str | Path], reader: ListingReader) -> Iterator[Path | Source]:
    return (path if reader.root is None and isinstance(path, Path) else reader.place(path) for path in paths)


def _sorted_images(found: FoundFiles, what: str) -> list[Path]:
    if not found.images:
        raise DataError(what, hint=_looked_for())
    return sorted(found.images)


def _looked_for() -> str:
    return f"Looked for {', '.join(sorted(SUFFIXES))}, and for images by their content."


def read_list(stream: BinaryIO | TextIO) -> Iterator[str | Path]:
    """Paths of a list as they arrive, one a line, and addresses in a store as text; empty lines are skipped.

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


def _as_path(text: str) -> str | Path:
    """The path that a line names: as written where that exists, else without spaces and quotes."""
    name = text.strip()
    if len(name) > 2 and name[0] in _QUOTES and name[-1] in _QUOTES:
        name = name[1:-1]
    if is_remote(name):
        return name
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
