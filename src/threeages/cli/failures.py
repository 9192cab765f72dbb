"""What the system refuses, in words: a full disk, a lost folder, too little memory."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TextIO

import typer

from threeages.errors import DataError, ThreeAgesError
from threeages.files.disk import FULL, HINTS, is_full, write_error
from threeages.files.writing import append_whole

MEMORY_HINT = "Close other programs, or give it less at a time."


class WholeLines:
    """Standard output as a stream of lines: of a line that a full disk cuts nothing stays in the file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_file = _measure_file(stream) is not None
        self._taken = ""

    def write(self, text: str) -> None:
        """Take a line, or a part of one."""
        self._taken += text

    def flush(self) -> None:
        """Write out what was taken; raises OSError."""
        text, self._taken = self._taken, ""
        if not self._is_file:
            self._stream.write(text)
        self._stream.flush()
        if self._is_file:
            text = text.replace("\n", os.linesep)
            append_whole(
                self._stream.fileno(), text.encode(self._stream.encoding, self._stream.errors or "strict")
            )


def translate_error(error: OSError | MemoryError) -> ThreeAgesError:
    """What the user is told of an error of the system that no part of the package has put into words."""
    if isinstance(error, MemoryError):
        return ThreeAgesError("The memory of this machine does not suffice.", hint=MEMORY_HINT)
    name = error.filename2 or error.filename
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None
    if error.errno in FULL:
        return _translate_full(path or _find_output(), error)
    hint = HINTS.get(error.errno or 0, "Check the path, its permissions and its disk.")
    what = f"Cannot use {path}" if path else "The system cannot read or write"
    return DataError(f"{what}: {error.strerror or error}.", hint=hint)


def _translate_full(path: Path | None, error: OSError) -> ThreeAgesError:
    if path:
        return write_error(path, error)
    return DataError(f"A disk is full: {error.strerror}.", hint="'df -h' shows which. Make room there.")


def prepare_streams() -> None:
    """Make stdout and stderr streams that take every text, and say where it could not be written.

    A process may be started without them, as a daemon is; a file name need not be valid UTF-8; and what
    Python writes without a buffer (`python -u`) is cut by a full disk without a word.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - it stays open
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.FileIO):
        sys.stdout = open(sys.stdout.fileno(), "w", 1, sys.stdout.encoding, closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what was printed; raises OSError. An interpreter that ends before says so in odd lines."""
    sys.stdout.flush()


def end_with(message: str) -> SystemExit:
    """Say on stderr what went wrong, and return the exit that belongs to it."""
    _release(sys.stdout)
    with suppress(OSError):  # it may go into a file on the same disk
        typer.echo(f"Error: {message}", err=True)
    _release(sys.stderr)
    return SystemExit(2)


def _release(stream: TextIO) -> None:
    """Leave nothing in a stream that cannot be written when the interpreter ends."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _find_output() -> Path | None:
    """The file that stdout goes into, where it is one on a full disk and the system names it."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stdout.fileno()
        if S_ISREG(os.fstat(number).st_mode):
            path = Path(f"/proc/self/fd/{number}").readlink()
            return path if is_full(path) else None
    return None


def _measure_file(stream: TextIO) -> int | None:
    """The size of the file that a stream goes into; None where it is none."""
    with suppress(OSError, ValueError, AttributeError):
        facts = os.fstat(stream.fileno())
        return facts.st_size if S_ISREG(facts.st_mode) else None
    return None
