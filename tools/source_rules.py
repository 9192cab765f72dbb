"""Compare rules for thresholds on sources never met: each source with the thresholds of the others.

    python tools/source_rules.py runs/cross/all/*/predictions.csv --out results/source-thresholds.csv

The predictions are those of `threeages cross-source`, a folder for each source. A target is held where the
source stays within it; one that is never answered is within it.
"""

import argparse
import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from threeages.evaluation.predictions import PredictionTable, join_predictions, load_predictions
from threeages.evaluation.thresholds import Rule, measure_thresholds
from threeages.evaluation.unseen import HELD_OUT, name_source
from threeages.files.writing import write_text

HEADER = ("rule", "kind", "target", "source", "reached", "answered_or_groups", "held")
Line = tuple[str, ...]


def main() -> None:
    """Write a row for each rule, target and source."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="the csv to write")
    args = parser.parse_args()
    table = join_sources(args.predictions)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for rule in get_args(Rule):
        writer.writerows(compare_rule(rule, table))
    write_text(args.out, text.getvalue())


def join_sources(paths: Sequence[Path]) -> PredictionTable:
    """The rows of all files, each with its folder's name in the column `held_out`."""
    tables = [name_source(load_predictions(path), path.absolute().parent.name) for path in paths]
    return join_predictions(tables)


def compare_rule(rule: Rule, table: PredictionTable) -> Iterator[Line]:
    """A row for each target that the rule reaches on all sources, and each source."""
    report = measure_thresholds(table, by=HELD_OUT, rule=rule)
    for error in report.errors:
        for name, (answered, risk) in error.parts.items():
            reached = "" if math.isnan(risk) else f"{risk:.4f}"
            held = str(not risk > error.target_error)
            yield rule, "max-error", f"{error.target_error:g}", name, reached, f"{answered:.4f}", held
    for sets in report.sets:
        for name, (coverage, groups) in sets.parts.items():
            held = str(coverage >= sets.target_coverage)
            yield (
                rule,
                "coverage",
                f"{sets.target_coverage:g}",
                name,
                f"{coverage:.4f}",
                f"{groups:.4f}",
                held,
            )
    for name, (coverage, years) in report.ages.items():
        yield rule, "ages", "0.9", name, f"{coverage:.4f}", f"{years:.4f}", str(coverage >= 0.9)


if __name__ == "__main__":
    main()
