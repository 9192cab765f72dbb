"""What the commands print: tables, progress and evaluations."""

import logging
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from threeages.evaluation.evaluate import Evaluation
    from threeages.inference.records import Record


WATCH_FROM = 100  # images; fewer are answered before a bar is read

WIDE = 240  # columns of a table that no terminal shows


def log_on_stderr() -> None:
    """Let the library's log lines of level INFO and above appear on stderr, without a prefix."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("threeages").setLevel(logging.INFO)


def say_on_stderr(text: str) -> None:
    """One line on stderr."""
    typer.echo(text, err=True)


def print_records(records: Any) -> None:
    """A row a face, and below it why some have no answer."""
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    found = list(records)
    names = ["young", "middle", "old", *(["years"] if any(r.age is not None for r in found) else []), "box"]
    path = Column("path", overflow="fold", min_width=12)
    status = Column("status", no_wrap=True)
    table = Table(path, status, "age group", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for name in names:  # the box takes two lines where the terminal has 80 columns
        table.add_column(name, justify="right", no_wrap=name != "box", min_width=7 if name == "box" else None)
    for r in found:
        group = "" if r.age_group is None else r.age_group
        if r.age_set is not None:
            group = f"{group} of {{{', '.join(r.age_set)}}}".strip()
        probs = [f"{p:.2f}" for p in r.probs.values()] if r.probs else [""] * 3
        years = [] if "years" not in names else [_years(r)]
        place = " ".join(map(str, r.box or ()))
        table.add_row(Text(r.path), r.status, group, *probs, *years, place)
    console = _console()
    console.print(table)
    for r in found:
        if r.message:
            console.print(Text(f"{r.path}: {r.message}"))


def _years(record: "Record") -> str:
    return "" if record.age is None else f"{record.age:.0f} ({record.age_low:.0f}-{record.age_high:.0f})"


def watch(paths: Sequence[Path]) -> Iterable[Path]:
    """The paths as they are, with a progress bar on stderr where that is a terminal and they are many."""
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
    _console().print(table)


def _console() -> "Console":
    """As wide as the terminal; into a file or pipe wide enough that no path is broken."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=WIDE, soft_wrap=True)


def print_evaluation(result: "Evaluation", out: Path) -> None:
    """Every metric with its interval, and where the report lies."""
    typer.echo(f"{result.n:,} images judged, {result.n_failed:,} without an answer {result.failed or ''}")
    for name, value in result.metrics.items():
        bounds = result.intervals.get(name)
        interval = f"  [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds and math.isfinite(bounds[0]) else ""
        figure = f"{value:.4f}{interval}" if math.isfinite(value) else "not defined"
        typer.echo(f"  {name:18} {figure}")
    typer.echo(f"Written to {out}")
