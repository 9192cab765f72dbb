"""Progress bars, on stderr only: stdout is for results."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def track_progress(items: Iterable[T], description: str, total: int) -> Iterable[T]:
    """The items, with a bar on stderr while they are consumed."""
    return track(items, description, total=total, console=Console(stderr=True))
