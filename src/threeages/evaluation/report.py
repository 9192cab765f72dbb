"""From predictions to a folder with metrics.json, predictions.csv, pictures and one self-contained page."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from threeages.errors import ConfigError, MissingDependencyError
from threeages.evaluation.evaluate import AgeQuestions, Evaluation, evaluate_table
from threeages.evaluation.page import render_report
from threeages.evaluation.predictions import PREDICTIONS, PredictionTable, save_predictions
from threeages.evaluation.provenance import Provenance, is_run, read_provenance
from threeages.evaluation.report_parts import Report
from threeages.evaluation.run_summary import read_run_summary
from threeages.files.csvfiles import replace_rows
from threeages.files.writing import write_text
from threeages.machine import describe_commit, describe_machine

logger = logging.getLogger(__name__)

PAGE, JSON = "report.html", "report.json"
PICTURES = ("confusion.png", "reliability.png")


def write_report(table: PredictionTable, out: Path, *, ages: AgeQuestions | None = None) -> Evaluation:
    """Evaluate the predictions; write metrics.json, predictions.csv, two pictures and report.html to `out`.

    Where `out` is the run folder that the predictions come from, its config.json says how the rows were
    split; `ages` is as for `evaluate_table`. Without matplotlib there are no pictures, and the page says so;
    without jinja2 there is no page, and the log says so. DataError where no row can be scored or the folder
    cannot be written.
    """
    if table.provenance == Provenance():
        table = replace(table, provenance=read_provenance(out))
    result = evaluate_table(table, ages=ages)
    write_text(out / "metrics.json", json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n")
    save_predictions(table, out / PREDICTIONS)
    _write_pictures(result, out)
    try:
        write_text(out / PAGE, render_report(Report(result, read_run_summary(out, table.provenance))))
    except MissingDependencyError as error:
        (out / PAGE).unlink(missing_ok=True)  # one of other predictions would mislead
        logger.warning("No %s: %s", PAGE, error)
    return result


def write_full_report(report: Report, out: Path) -> None:
    """Write everything that is known to report.html and report.json in `out`.

    Raises MissingDependencyError without jinja2 and DataError where the folder cannot be written.
    """
    page = render_report(report)
    write_text(out / JSON, json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    write_text(out / PAGE, page)


def check_folder(out: Path, inputs: Sequence[Path] = ()) -> None:
    """Raise ConfigError where `out` is a run's folder, whose predictions those of `inputs` would replace.

    The run's own predictions, as the only input, may be reported on there.
    """
    own = len(inputs) == 1 and inputs[0].resolve() == (out / PREDICTIONS).resolve()
    if is_run(out) and not own:
        raise ConfigError(
            f"{out} is the folder of a run, whose predictions and report would be replaced by others.",
            hint="Give another --out.",
        )


def add_result(result: Evaluation, path: Path, name: str) -> None:
    """Add or replace one model's row in a csv of results: metrics, intervals, machine, date, seed, commit."""
    row: dict[str, str] = {"model": name, "n": str(result.n), "units": str(result.units), "unit": result.unit}
    for metric, value in result.metrics.items():
        low, high = result.intervals[metric]
        row |= {metric: _cell(value), f"{metric}_low": _cell(low), f"{metric}_high": _cell(high)}
    seed = result.provenance.seed
    row |= {"machine": describe_machine(), "date": date.today().isoformat()}
    row |= {"seed": "" if seed is None else str(seed), "commit": describe_commit()}
    replace_rows(path, [row], ("model",))


def _write_pictures(result: Evaluation, out: Path) -> None:
    from threeages.evaluation import plots

    try:
        plots.save_figure(plots.plot_confusion(result.confusion), out / PICTURES[0])
        plots.save_figure(plots.plot_reliability(result.reliability), out / PICTURES[1])
    except MissingDependencyError:
        for name in PICTURES:  # pictures of an earlier report would belong to other predictions
            (out / name).unlink(missing_ok=True)


def _cell(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""
