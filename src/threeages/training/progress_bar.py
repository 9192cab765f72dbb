"""The bar of one epoch on stderr: images done, images per second, the loss and the time that is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def show_progress(
    title: str, total: int, done: int, *, shown: bool = True
) -> Iterator[Callable[[int, float], None]]:
    """A bar over `total` images for the block, which calls the function given after every step.

    It takes the images of the step and its loss; `done` images were behind an earlier start's steps.
    Nothing is shown unless it is `shown`.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.0f} images/s, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), disable=not shown)
    key = bar.add_task(title, total=total, completed=done, loss=0.0, speed=0.0)

    def advance(images: int, loss: float) -> None:
        bar.update(key, advance=images, loss=loss, speed=bar.tasks[0].speed or 0.0)

    with bar:
        yield advance
