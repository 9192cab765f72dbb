"""From predictions to a folder with metrics.json, predictions.csv, pictures and one self-contained page."""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from html import escape
from pathlib import Path

from threeages.errors import ConfigError, MissingDependencyError, format_count
from threeages.evaluation.evaluate import AgeQuestions, Evaluation, evaluate_table
from threeages.evaluation.predictions import PREDICTIONS, PredictionTable, save_predictions
from threeages.evaluation.provenance import Provenance, is_run, read_provenance
from threeages.evaluation.slices import SLICE_METRICS
from threeages.evaluation.tables import (
    METRIC_TITLES,
    format_interval,
    format_number,
    html_table,
    load_template,
)
from threeages.files.csvfiles import replace_rows
from threeages.files.writing import write_text
from threeages.machine import describe_commit, describe_machine

PICTURES = {"confusion.png": "Confusion matrix", "reliability.png": "Reliability diagram"}


def write_report(table: PredictionTable, out: Path, *, ages: AgeQuestions | None = None) -> Evaluation:
    """Evaluate the predictions; write metrics.json, predictions.csv, two pictures and report.html to `out`.

    Where `out` is the run folder that the predictions come from, its config.json says how the rows were
    split; `ages` is as for `evaluate_table`. Without matplotlib there are no pictures, and the page says so.
    DataError where no row can be scored or the folder cannot be written.
    """
    if table.provenance == Provenance():
        table = replace(table, provenance=read_provenance(out))
    result = evaluate_table(table, ages=ages)
    write_text(out / "metrics.json", json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n")
    save_predictions(table, out / PREDICTIONS)
    try:
        _plot(result, out)
        missing = ""
    except MissingDependencyError as error:
        missing = f"No pictures: {error.message} {error.hint}"
        for name in PICTURES:  # pictures of an earlier report would belong to other predictions
            (out / name).unlink(missing_ok=True)
    write_text(out / "report.html", _page(result, out, missing))
    return result


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


def _plot(result: Evaluation, out: Path) -> None:
    from threeages.evaluation import plots

    plots.save_figure(plots.plot_confusion(result.confusion), out / "confusion.png")
    plots.save_figure(plots.plot_reliability(result.reliability), out / "reliability.png")


def _page(result: Evaluation, out: Path, missing: str) -> str:
    unit = "images" if result.unit == "image" else "identities"
    return load_template("report.html").substitute(
        summary=escape(_summary(result)),
        warnings="\n".join(f'<p class="warning">{escape(note)}</p>' for note in result.notes),
        metrics=_metrics_table(result),
        intervals=f"Intervals: bootstrap over {result.units:,} {unit}. Means over classes skip absent "
        "ones; of one class alone there is none.",
        classes=html_table(
            ("Class", "Precision", "Recall", "F1", "Images"),
            (
                (name, *(format_number(row[k]) for k in ("precision", "recall", "f1")), f"{row['support']:,}")
                for name, row in result.per_class.items()
            ),
        ),
        pictures=f"<p>{escape(missing)}</p>" if missing else _pictures(out),
        slices="\n".join(_slices(result)),
    )


def _metrics_table(result: Evaluation) -> str:
    rows = (
        (METRIC_TITLES[name], format_number(value), format_interval(result.intervals[name]))
        for name, value in result.metrics.items()
    )
    return html_table(("Metric", "Value", "95 % interval"), rows)


def _summary(result: Evaluation) -> str:
    text = f"{format_count(result.n, 'image')} scored."
    if result.n_failed:
        text += f" {result.n_failed:,} were not, and count in no metric: "
        text += ", ".join(f"{status}: {n:,}" for status, n in result.failed.items()) + "."
    return text


def _slices(result: Evaluation) -> Iterator[str]:
    if result.slices:
        yield "<h2>Slices</h2>"
    for column, values in result.slices.items():
        rows = (
            (value, f"{found['n']:,}", *(format_number(found[name]) for name in SLICE_METRICS))
            for value, found in values.items()
        )
        header = (column, "Images", *(METRIC_TITLES[name] for name in SLICE_METRICS))
        yield f"<h3>By {escape(column)}</h3>\n{html_table(header, rows)}"


def _pictures(out: Path) -> str:
    images = "\n".join(_picture(out / name, alt) for name, alt in PICTURES.items())
    return f'<div class="pictures">\n{images}\n</div>'


def _picture(path: Path, alt: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _cell(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""
