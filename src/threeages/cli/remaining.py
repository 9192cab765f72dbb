"""Progress of a long command on stderr: how many images are done, how fast, and the time that remains."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import typer

EVERY_LINE, EVERY_UPDATE = 30.0, 0.5  # seconds; of a log, and of a terminal's one line


class Remaining:
    """Says now and then how far a command is; `count` gives the number of all images, None if unknown.

    It is called in a thread of its own, as it may have to walk a folder.
    """

    def __init__(
        self, count: Callable[[], int | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._count = clock, count
        self._begin = self._said = clock()
        self._terminal = sys.stderr.isatty()
        self._total: int | None = None
        Thread(target=self._find_total, name="threeages-count", daemon=True).start()

    def _find_total(self) -> None:
        with suppress(Exception):  # reading the same input for the answers says what is wrong
            self._total = self._count()

    def show(self, done: int, answered: int) -> None:
        """Say how far it is where it is time: `done` images are over, `answered` of them in this run."""
        now = self._clock()
        if now - self._said >= (EVERY_UPDATE if self._terminal else EVERY_LINE):
            self._said = now
            line = describe_progress(done, answered, self._total, now - self._begin)
            typer.echo(f"\r\x1b[2K{line}" if self._terminal else line, err=True, nl=not self._terminal)

    def close(self) -> None:
        """Leave the terminal's line empty."""
        if self._terminal:
            typer.echo("\r\x1b[2K", err=True, nl=False)


def describe_progress(done: int, answered: int, total: int | None, seconds: float) -> str:
    """A line such as '12,000 of 60,000 images, 200.0 a second, 0:04:00 left'."""
    rate = answered / seconds if seconds else 0.0
    known = total is not None and total >= done
    parts = [f"{done:,} of {total:,} images" if known else f"{done:,} images", f"{rate:.1f} a second"]
    if known and total is not None and rate:
        parts.append(f"{format_seconds((total - done) / rate)} left")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """Hours, minutes and seconds: '1:02:03'."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
