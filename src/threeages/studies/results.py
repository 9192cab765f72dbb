"""Rows of a study's results: where, when and from which commit each was measured."""

import argparse
import logging
import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from threeages.files.csvfiles import replace_rows, write_rows
from threeages.machine import describe_commit, describe_machine

logger = logging.getLogger(__name__)

Row = dict[str, str]


def describe_origin() -> Row:
    """The columns machine, date and commit, which every row of results ends with."""
    return {
        "machine": describe_machine(),
        "date": date.today().isoformat(),
        "commit": describe_commit(),
    }


def save_rows(path: Path, rows: Sequence[Row], key: Sequence[str] = ()) -> None:
    """Write the rows with their origin to a csv, and log them.

    Rows that stand there are kept where they differ in the columns `key`; without a key all are replaced.
    """
    found = [row | describe_origin() for row in rows]
    if key:
        replace_rows(path, found, key)
    else:
        write_rows(path, found)
    for row in rows:
        logger.info("  ".join(f"{name} {value}" for name, value in row.items() if value))
    logger.info("Written to %s", path)


def with_interval(name: str, value: float, interval: Sequence[float]) -> Row:
    """Cells of a metric: itself, its lower and its upper bound, such as `ece`, `ece_low`, `ece_high`.

    A cell is empty where the value is not defined.
    """
    names = (name, f"{name}_low", f"{name}_high")
    values = zip(names, (value, *interval), strict=True)
    return {key: f"{v:.4f}" if math.isfinite(v) else "" for key, v in values}


def create_parser(description: str | None, out: Path) -> argparse.ArgumentParser:
    """A parser of a study's own arguments, with `--out` for its csv; its logger writes to stderr."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("threeages").setLevel(logging.INFO)
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=out, help=f"csv to write (default: {out})")
    return parser


def format_markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines)]
