"""What evaluate is asked of ages, and what is printed of slices, brackets and age thresholds."""

import math
from typing import TYPE_CHECKING

import typer

from threeages.cli.output import print_rows
from threeages.evaluation.enough import TOO_FEW

if TYPE_CHECKING:
    from threeages.evaluation.age_thresholds import AgeThreshold, AgeThresholds
    from threeages.evaluation.brackets import BracketEvaluation
    from threeages.evaluation.evaluate import AgeQuestions
    from threeages.evaluation.rates import Rate
    from threeages.evaluation.slices import SliceAudit, SliceGap

SHOWN_PAIRS = 5  # pairs of columns whose gap is shown, of those that chance does not explain
NO_FACE = "no face of that age"
NEAR_YEARS = 5  # years at each side of a limit whose rates are shown one by one


def parse_questions(brackets: str | None, at: str | None, rates: str | None = None) -> "AgeQuestions":
    """What the options --brackets, --at and --challenge-rates ask; ConfigError where one cannot be read."""
    from threeages.errors import ConfigError
    from threeages.evaluation.age_thresholds import TARGET_RATES, check_target_rates, parse_limits
    from threeages.evaluation.evaluate import AgeQuestions
    from threeages.inference.brackets import Brackets

    if rates is not None and at is None:
        raise ConfigError("--challenge-rates was given without --at.", hint="Add --at 18 or other limits.")
    try:
        targets = TARGET_RATES if rates is None else tuple(float(rate) for rate in rates.split(","))
    except ValueError as error:
        raise ConfigError(f"The rates were '{rates}'.", hint="Give shares such as 0.05,0.01.") from error
    check_target_rates(targets)
    return AgeQuestions(
        None if brackets is None else Brackets.create(brackets),
        () if at is None else parse_limits(at),
        targets,
    )


def print_gaps(audit: "SliceAudit") -> None:
    """The gap of every column, and of the pairs of columns where it is no chance."""
    gaps = [gap for column in audit.slices for gap in _choose(audit, column)]
    pairs = [gap for column in audit.pairs for gap in _choose(audit, column) if gap.low > 0]
    distinct = {(gap.best, gap.worst): gap for gap in reversed(pairs)}  # two columns may say the same
    shown = [*gaps, *sorted(distinct.values(), key=lambda gap: -gap.low)[:SHOWN_PAIRS]]
    shown = [gap for gap in shown if gap.gap > 0]  # slices that are all alike have no best and no worst
    if not shown:
        return
    compared = max(audit.comparisons.values())
    typer.echo(
        f"Gaps between slices of {audit.min_identities} identities or more; the 95 % intervals hold for all "
        f"{compared:,} pairs of slices at once"
    )
    print_rows(
        ["sliced by", "metric", "best", "worst", "gap"],
        [
            [g.column, g.metric.replace("_", " "), g.best, g.worst, _bounded(g.gap, g.low, g.high, "+.3f")]
            for g in shown
        ],
    )


def _choose(audit: "SliceAudit", column: str) -> "list[SliceGap]":
    """The gap of balanced accuracy where it compares as many slices as that of accuracy, else the latter."""
    found = {gap.metric: gap for gap in audit.gaps if gap.column == column}
    accuracy, balanced = found.get("accuracy"), found.get("balanced_accuracy")
    if accuracy is None:
        return []
    return [balanced if balanced and balanced.slices == accuracy.slices else accuracy]


def print_brackets(result: "BracketEvaluation") -> None:
    """The metrics of the brackets with their intervals, and of each bracket."""
    typer.echo(f"Brackets of ages, {result.n:,} images with a true age; an answer is {result.answer}")
    few = "" if math.isfinite(result.intervals["accuracy"][0]) else f"  {TOO_FEW}"
    for name, value in result.metrics.items():
        typer.echo(f"  {name:18} {_bounded(value, *result.intervals[name], '.4f')}{few}")
    print_rows(
        ["bracket", "precision", "recall", "f1", "images"],
        [
            [name, *(_number(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,}"]
            for name, row in result.per_class.items()
        ],
    )


def print_age_thresholds(result: "AgeThresholds") -> None:
    """Rates at every limit, by true year and by slice, and the challenge ages."""
    from threeages.evaluation.age_thresholds import describe_missing

    typer.echo(f"Age thresholds, {result.n:,} images of {result.units:,} identities with a true age")
    typer.echo(f"Warning: {result.note}")
    near = result.near_years
    header = [
        "limit",
        f"accepted, up to {near} years too young",
        "accepted, of all too young",
        f"rejected, of the first {near} years from the limit",
        "rejected, of all from the limit",
    ]
    print_rows(header, [_limit_row(item, near) for item in result.limits])
    typer.echo("By true year, share accepted: a false acceptance below the limit, a right one from there on")
    print_rows(
        ["limit", "true year", "images", "accepted"],
        [row for item in result.limits for row in _year_rows(item)],
    )
    challenges = [row for item in result.limits for row in _challenge_rows(item)]
    if challenges:
        typer.echo(
            "Challenge age: faces that look younger are rejected. It is the least that keeps the share of "
            "too young faces that are accepted at or below the target, with its whole interval"
        )
        print_rows(["limit", "target", "challenge age", *header[1:2], *header[3:]], challenges)
    for sentence in (text for item in result.limits for text in describe_missing(item)):
        typer.echo(sentence)
    slices = [row for item in result.limits for row in _slice_rows(item)]
    if slices:
        typer.echo(
            f"By slice of {result.min_identities} identities or more on both sides; the 95 % intervals of a "
            "limit hold at once"
        )
        print_rows(["limit", "slice", header[1], header[3]], slices)


def _limit_row(item: "AgeThreshold", near: int) -> list[str]:
    return [
        str(item.limit),
        f"{max(item.limit - near, 0)}-{item.limit - 1}: {_rate(item.false_acceptance_near)}",
        _rate(item.false_acceptance),
        f"{item.limit}-{item.limit + near - 1}: {_rate(item.false_rejection_near)}",
        _rate(item.false_rejection),
    ]


def _year_rows(item: "AgeThreshold") -> list[list[str]]:
    return [
        [str(item.limit), year, f"{rate.n:,}", _rate(rate)]
        for year, rate in item.accepted_by_year.items()
        if -NEAR_YEARS <= int(year) - item.limit < NEAR_YEARS
    ]


def _challenge_rows(item: "AgeThreshold") -> list[list[str]]:
    return [
        [
            str(item.limit),
            f"{challenge.target_rate:.1%}",
            str(challenge.age),
            _rate(challenge.false_acceptance_near),
            _rate(challenge.false_rejection_near),
            _rate(challenge.false_rejection),
        ]
        for challenge in item.challenges
        if challenge.age is not None
    ]


def _slice_rows(item: "AgeThreshold") -> list[list[str]]:
    return [
        [str(item.limit), f"{column} {value}", *(_rate(rate) for rate in rates.values())]
        for column, values in item.slices.items()
        for value, rates in values.items()
    ]


def _rate(rate: "Rate") -> str:
    if not rate.n:
        return NO_FACE
    few = "" if math.isfinite(rate.low) else f" (of {rate.n:,}: {TOO_FEW})"
    return _bounded(rate.rate, rate.low, rate.high, ".3f") + few


def _bounded(value: float, low: float, high: float, digits: str) -> str:
    """A value with its interval where both are defined."""
    if not math.isfinite(value):
        return "not defined"
    return f"{value:{digits}}" + (f" [{low:{digits}}, {high:{digits}}]" if math.isfinite(low) else "")


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"
