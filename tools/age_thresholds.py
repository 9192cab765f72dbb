"""Measure age thresholds of a model on held-out predictions: false acceptance and rejection, challenge age.

    python tools/age_thresholds.py utkface=runs/release/utkface/predictions.csv \\
        unseen=runs/release/unseen/predictions.csv --out results/age-thresholds.csv \\
        --brackets results/brackets.csv

Every set is measured whole and by source; of predictions with the column held_out, each source is also
measured at the challenge age that its others ask for, which is what to expect on a new one. A source with
less than 30 identities in the four years below a limit is left out there. The figures make no age check.
With --brackets the brackets 0, 13, 18, 30 and 50 are scored too, each set as a whole.
"""

import argparse
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from threeages.data.columns import SOURCE
from threeages.evaluation.age_thresholds import (
    NEAR,
    AgeThreshold,
    ChallengeAge,
    evaluate_age_thresholds,
    measure_challenge,
    parse_limits,
)
from threeages.evaluation.brackets import evaluate_brackets
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.evaluation.rates import Rate
from threeages.evaluation.slices import MIN_IDENTITIES
from threeages.evaluation.unseen import HELD_OUT
from threeages.files.csvfiles import write_rows
from threeages.inference.brackets import Brackets
from threeages.machine import describe_commit, describe_machine

BRACKETS = Brackets((0, 13, 18, 30, 50))
WHOLE = "all"
YEARS = 6  # at each side of a limit whose rates are written one by one
Row = dict[str, str]


def main() -> None:
    """Measure every set and write the csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="NAME=PREDICTIONS.csv")
    parser.add_argument("--at", default="13,16,18,21,25", help="limits of age in years")
    parser.add_argument("--out", type=Path, required=True, help="csv to write")
    parser.add_argument("--brackets", type=Path, help="csv to write the brackets to")
    args = parser.parse_args()
    about = {"machine": describe_machine(), "date": date.today().isoformat(), "commit": describe_commit()}
    rows: list[Row] = []
    brackets: list[Row] = []
    for item in args.sets:
        name, _, path = item.partition("=")
        table = load_predictions(Path(path))
        rows += [{"set": name} | row | about for row in measure_set(table, parse_limits(args.at))]
        brackets += [{"set": name} | row | about for row in measure_brackets(table)]
    write_rows(args.out, rows)
    print(f"{len(rows):,} rows written to {args.out}")
    if args.brackets:
        write_rows(args.brackets, brackets)


def measure_set(table: PredictionTable, limits: tuple[int, ...]) -> Iterator[Row]:
    """The rows of a set: as a whole, and by source."""
    column = HELD_OUT if HELD_OUT in table.columns else SOURCE
    sources = sorted(set(table.columns.get(column, ())) - {""})
    parts = {WHOLE: table}
    if len(sources) > 1:
        parts |= {source: table.where(column, source) for source in sources}
    for source, part in parts.items():
        if not np.isfinite(part.ages()).any():
            continue
        for found in evaluate_age_thresholds(part, limits).limits:
            if found.false_acceptance_near.units < MIN_IDENTITIES:
                continue
            yield from _describe(source, found)
            if column == HELD_OUT and source != WHOLE:
                yield from _measure_others(table, part, source, found.limit)


def measure_brackets(table: PredictionTable) -> Iterator[Row]:
    """A row for all brackets together, with accuracy and its interval, and one for each."""
    found = evaluate_brackets(table, BRACKETS)
    low, high = found.intervals["accuracy"]
    whole = {"accuracy": found.metrics["accuracy"], "accuracy_low": low, "accuracy_high": high}
    whole["balanced_accuracy"] = found.metrics["balanced_accuracy"]
    empty = dict.fromkeys(("precision", "recall", "f1"), "")
    yield {"bracket": "all", "n": str(found.n)} | empty | {k: _number(v) for k, v in whole.items()}
    for name, values in found.per_class.items():
        scores = {key: _number(values[key]) for key in empty}
        yield {"bracket": name, "n": str(values["support"])} | scores | dict.fromkeys(whole, "")


def _describe(source: str, found: AgeThreshold) -> Iterator[Row]:
    limit = found.limit
    near = f"{max(limit - NEAR, 0)}-{limit - 1}", f"{limit}-{limit + NEAR - 1}"
    at = (source, limit, "", "", str(limit))
    yield _row(*at, "false_acceptance", near[0], found.false_acceptance_near)
    yield _row(*at, "false_acceptance", f"0-{limit - 1}", found.false_acceptance)
    yield _row(*at, "false_rejection", near[1], found.false_rejection_near)
    yield _row(*at, "false_rejection", f"{limit}+", found.false_rejection)
    for year, rate in found.accepted_by_year.items():
        if -YEARS <= int(year) - limit < YEARS:
            yield _row(*at, "accepted", year, rate)
    for challenge in found.challenges:
        yield from _describe_challenge(source, limit, "the same faces", challenge)


def _describe_challenge(source: str, limit: int, chosen_on: str, challenge: ChallengeAge) -> Iterator[Row]:
    target, age = f"{challenge.target_rate:g}", "" if challenge.age is None else str(challenge.age)
    at = (source, limit, target, chosen_on, age)
    yield _row(
        *at, "false_acceptance", f"{max(limit - NEAR, 0)}-{limit - 1}", challenge.false_acceptance_near
    )
    yield _row(*at, "false_rejection", f"{limit}-{limit + NEAR - 1}", challenge.false_rejection_near)
    yield _row(*at, "false_rejection", f"{limit}+", challenge.false_rejection)


def _measure_others(table: PredictionTable, part: PredictionTable, source: str, limit: int) -> Iterator[Row]:
    """The source at the challenge ages of the others."""
    cells = np.asarray(table.columns[HELD_OUT])
    (others,) = evaluate_age_thresholds(table.take(np.flatnonzero(cells != source)), [limit]).limits
    for chosen in others.challenges:
        if chosen.age is not None:
            measured = measure_challenge(part, limit, chosen.target_rate, chosen.age)
            yield from _describe_challenge(source, limit, "the other sources", measured)


def _row(
    source: str, limit: int, target: str, chosen_on: str, age: str, measure: str, years: str, rate: Rate
) -> Row:
    return {
        "source": source, "limit": str(limit), "target": target, "chosen_on": chosen_on,
        "challenge_age": age, "measure": measure, "true_years": years, "n": str(rate.n),
        "units": str(rate.units),
        **{name: _number(getattr(rate, name)) for name in ("rate", "low", "high")},
    }  # fmt: skip


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


if __name__ == "__main__":
    main()
