"""The part of a model card on sources never met: what a model of the recipe answers to each, worst first."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from threeages.evaluation.evaluate import Evaluation, evaluate_table
from threeages.evaluation.model_index import Measured
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.slices import SLICE_METRICS
from threeages.evaluation.tables import METRIC_TITLES, format_with_interval, markdown_table
from threeages.evaluation.thresholds import Parts, ThresholdReport, measure_thresholds

HELD_OUT = "held_out"  # column: the source that the model of a row was trained without
ABOUT = """Each source below was answered by a model of the same recipe that was trained on all others, which
is what to expect of photos from elsewhere; the worst comes first. Temperature, thresholds and intervals were
fitted on these answers: the temperature with every source weighing the same, the others so that the worst
source reaches the target."""
RULE = """Each figure below was measured with thresholds that were chosen on the other sources: share
answered and share of errors among those answers, for every `--max-error`."""
SETS = """And for every `--coverage`: share of the sets that hold the age group, and age groups in a set."""
AGES = """The 90 % intervals of years, widened as on the other sources."""


def name_source(table: PredictionTable, name: str) -> PredictionTable:
    """The table with the source that its model was trained without in the column `held_out`."""
    return replace(table, columns=table.columns | {HELD_OUT: (name,) * len(table)})


def evaluate_unseen(table: PredictionTable) -> list[Measured]:
    """Every source of the column `held_out` with its rows and their metrics, the worst first."""
    parts = {name: table.where(HELD_OUT, name) for name in dict.fromkeys(table.columns.get(HELD_OUT, ()))}
    found = (Measured(name, part, evaluate_table(part)) for name, part in parts.items())
    return sorted(found, key=lambda one: one.result.metrics["balanced_accuracy"])


def write_unseen(table: PredictionTable, found: Sequence[Measured]) -> Iterator[str]:
    """Sentences and tables in Markdown of the table and what `evaluate_unseen` found in it.

    Raises DataError where the column `held_out` names less than two sources.
    """
    report = measure_thresholds(table, by=HELD_OUT)
    names = [one.name for one in found]
    yield ABOUT
    yield _summary(found)
    yield RULE
    yield _table("`--max-error`", names, {f"{e.target_error:.0%}": e.parts for e in report.errors})
    yield SETS
    yield _table("`--coverage`", names, {f"{s.target_coverage:.0%}": s.parts for s in report.sets}, 2)
    if report.ages:
        yield AGES
        yield _ages(names, report)


def _summary(found: Sequence[Measured]) -> str:
    metrics = (*SLICE_METRICS, "ece")
    header = ("Source never met", "Images", *(METRIC_TITLES[name] for name in metrics), "Years MAE")
    rows = (
        (name, f"{r.n:,}", *(format_with_interval(r, m) for m in metrics), _years(r)) for name, _, r in found
    )
    return markdown_table(header, rows)


def _years(result: Evaluation) -> str:
    return f"{result.years['mae']:.2f}" if result.years else ""


def _table(title: str, names: list[str], targets: dict[str, Parts], digits: int = 3) -> str:
    """A row for each source and one of their mean, two measures a target."""
    means = {target: tuple(np.nanmean(list(parts.values()), axis=0)) for target, parts in targets.items()}
    rows = [(name, *(_cell(targets[t][name], digits) for t in targets)) for name in names]
    return markdown_table((title, *targets), [*rows, ("mean", *(_cell(means[t], digits) for t in targets))])


def _cell(measures: tuple[float, ...], digits: int) -> str:
    first, second = measures
    return f"{first:.3f}; {second:.{digits}f}" if np.isfinite(second) else f"{first:.3f}; none"


def _ages(names: list[str], report: ThresholdReport) -> str:
    rows = (
        (name, *(f"{value:.{digits}f}" for value, digits in zip(report.ages[name], (3, 1), strict=True)))
        for name in names
        if name in report.ages
    )
    return markdown_table(("Source never met", "ages inside", "mean width in years"), rows)
