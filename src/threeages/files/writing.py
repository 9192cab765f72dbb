"""Texts, json and bytes written whole and durably."""

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from threeages.files.atomic import atomic_path
from threeages.files.disk import write_error


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole and durably; raises DataError, which says how many bytes a full disk lacks."""
    with atomic_path(path, durable=True, need=len(content)) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 whole and durably; raises DataError where it cannot be written."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented json whole and durably; raises DataError where it cannot be written."""
    write_text(path, format_json(content))


def format_json(content: Any) -> str:
    """Indented json that ends in a line break."""
    return json.dumps(content, indent=2) + "\n"


def as_json(content: Any) -> Any:
    """The content as json gives it back: tuples are lists, and keys texts."""
    return json.loads(json.dumps(content))


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: each takes its name when all of them are whole and on the disk.

    Raises DataError, and leaves every file as it was, where the disk is full.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            part = stack.enter_context(atomic_path(path, durable=True, need=len(content)))
            part.write_bytes(content)


def append_line(path: Path, line: str) -> None:
    """Add a line in UTF-8, which ends in its line break, to a file: whole, or not at all.

    Raises DataError where the file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            append_whole(file.fileno(), line.encode(errors="backslashreplace"))
    except OSError as error:
        raise write_error(path, error, need=len(line)) from error


def append_whole(file: int, content: bytes) -> None:
    """Add bytes to an open file of the system: what a full disk cuts is taken back; raises OSError.

    Nothing is taken back where another process has written behind it.
    """
    before, written = os.fstat(file).st_size, 0
    try:
        while written < len(content):
            written += os.write(file, content[written:])
    except OSError:
        if os.fstat(file).st_size == before + written:
            os.ftruncate(file, before)
        raise


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
