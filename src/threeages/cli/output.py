"""What the commands print: tables, progress and evaluations."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from threeages.errors import DataError, format_count

if TYPE_CHECKING:
    from rich.console import Console

    from threeages.data.manifest import Manifest
    from threeages.evaluation.evaluate import Evaluation
    from threeages.inference.records import Record


WATCH_FROM = 100  # images; fewer are done before anyone reads a progress bar

WIDE = 240  # columns of a table that goes into a file or pipe
ROOM_FOR_BOX = (
    100  # columns of a terminal from which on a face's box is shown too, not only in --jsonl and --csv
)


def show_log() -> None:
    """Show on stderr what the library logs, a line each; at most once."""
    import logging

    logger = logging.getLogger("threeages")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def start_training() -> None:
    """Prepare the process of a command that trains: show the log, and keep memory between steps."""
    from threeages.training.malloc import keep_freed_memory

    show_log()
    keep_freed_memory()


def print_records(records: Any) -> None:
    """A row per face, and below the table the message of each that has one."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    found = list(records)
    console = create_console()
    names = ["young", "middle", "old", *(["years"] if any(r.age is not None for r in found) else [])]
    names += ["box"] if console.width >= ROOM_FOR_BOX else []
    path = Column("path", overflow="fold", min_width=12)
    status = Column("status", no_wrap=True)
    table = Table(path, status, "age group", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for r in found:
        group = "" if r.age_group is None else r.age_group
        if r.age_set is not None:
            group = f"{group} of {{{', '.join(r.age_set)}}}".strip()
        probs = [f"{p:.2f}" for p in r.probs.values()] if r.probs else [""] * 3
        years = [] if "years" not in names else [_years(r)]
        box_cells = [" ".join(map(str, r.box or ()))] if "box" in names else []
        table.add_row(Text(r.path), r.status, group, *probs, *years, *box_cells)
    console.print(table)
    _print_brackets([r for r in found if r.brackets])
    for r in found:
        if r.message:
            console.print(Text(f"{r.path}: {r.message}"))


def _print_brackets(records: "Sequence[Record]") -> None:
    """A row per face with the probability of each bracket of ages, where brackets were asked for."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    if not records:
        return
    names = list(records[0].brackets or {})
    columns = [Column(name, justify="right", no_wrap=True) for name in names]
    path = Column("path", overflow="fold", min_width=12)
    table = Table(path, *columns, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for r in records:
        table.add_row(Text(r.path), *(f"{share:.2f}" for share in (r.brackets or {}).values()))
    create_console().print(table)


def _years(record: "Record") -> str:
    return "" if record.age is None else f"{record.age:.0f} ({record.age_low:.0f}-{record.age_high:.0f})"


def watch(paths: Sequence[Path]) -> Iterable[Path]:
    """The same paths, with a progress bar on stderr where that is a terminal and there are many."""
    if len(paths) < WATCH_FROM or not sys.stderr.isatty():
        return paths
    from rich.console import Console
    from rich.progress import track

    return track(paths, description=f"{len(paths):,} images", console=Console(stderr=True), transient=True)


def print_rows(header: list[str], rows: list[list[str]]) -> None:
    """A table on stdout."""
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    create_console().print(table)


def create_console() -> "Console":
    """As wide as the terminal; into a file or pipe wide enough that no path is broken."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDE, soft_wrap=True)


def print_evaluation(result: "Evaluation", out: Path) -> None:
    """Every metric with its interval, the warnings that belong beside them, and where the report is."""
    from threeages.cli.ages import print_age_thresholds, print_brackets, print_gaps
    from threeages.evaluation.enough import TOO_FEW
    from threeages.evaluation.tables import NO_INTERVAL

    failed = ", ".join(f"{status} {count:,}" for status, count in result.failed.items())
    typer.echo(
        f"{format_count(result.n, 'image')} scored, {result.n_failed:,} not{f' ({failed})' if failed else ''}"
    )
    print_notes(result.notes)
    words = f"  {TOO_FEW if result.too_few else NO_INTERVAL}"
    for name, value in result.metrics.items():
        bounds = result.intervals.get(name)
        interval = f"  [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and math.isfinite(bounds[0]) else words
        typer.echo(f"  {name:18} {f'{value:.4f}{interval}' if math.isfinite(value) else 'not defined'}")
    print_gaps(result.slice_audit)
    if result.brackets:
        print_brackets(result.brackets)
    if result.age_thresholds:
        print_age_thresholds(result.age_thresholds)
    typer.echo(f"Written to {out}")


def print_unreadable(failed: int, total: int, what: str = "could not be read") -> bool:
    """Say on stderr how many images failed, if any; whether any did."""
    if failed:
        typer.echo(f"{failed:,} of {format_count(total, 'image')} {what}.", err=True)
    return failed > 0


def say_left_out(rows: "Manifest", failed: Mapping[int, str]) -> None:
    """Name on stderr the rows whose images cannot be read; raises DataError where that is all of them.

    `failed` holds the reason by row.
    """
    first = next(iter(failed))
    text = (
        f"{len(failed):,} of {format_count(rows, 'image')} cannot be read, first {rows.paths[first]} "
        f"({failed[first]})"
    )
    if len(failed) == len(rows):
        raise DataError(
            f"{text}.", hint=f"Paths are relative to {rows.root}. Name another folder with --root."
        )
    typer.echo(f"{text}. They are left out.", err=True)


def describe_faces(what: str) -> str:
    """What to say of a file that shows people; `what` is its subject and verb, such as 'The page holds'."""
    return f"{what} faces of people: keep that where the images may be."


def print_notes(notes: Iterable[str]) -> None:
    """Warnings on stdout, as they belong beside the numbers printed there."""
    for note in notes:
        typer.echo(f"Warning: {note}")
