"""From predictions to a folder with the figures as json, csv, png and one self-contained html page."""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from pathlib import Path
from string import Template

from threeages.errors import MissingDependencyError
from threeages.evaluation.evaluate import SLICE_FIGURES, Evaluation, evaluate
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.files import atomic_path, replace_rows
from threeages.machine import describe_machine

NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "Macro F1",
    "mae_bins": "Mean error in age groups",
    "within_one": "At most one group off",
    "qwk": "Quadratic weighted kappa",
    "nll": "Negative log-likelihood",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}
PICTURES = {"confusion.png": "Confusion matrix", "reliability.png": "Reliability diagram"}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>threeages report</title>
<style>
:root { color-scheme: light dark; --line: #d1d5db; --soft: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --line: #374151; --soft: #9ca3af; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { padding: 0.3rem 0.75rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; padding-left: 0; }
tbody th { font-weight: normal; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
p.note { color: var(--soft); }
img { max-width: 100%; width: 28rem; background: white; border-radius: 0.5rem; margin: 0 1rem 1rem 0; }
</style>
</head>
<body>
<h1>Which age group is this face?</h1>
<p>$summary</p>
<h2>Figures</h2>
$figures
<p class="note">$note</p>
<h2>By class</h2>
$classes
<h2>Pictures</h2>
$pictures
$slices
</body>
</html>
""")


def write_report(table: PredictionTable, out: Path) -> Evaluation:
    """Judge the predictions and write metrics.json, predictions.csv, two pictures and report.html to `out`.

    Without matplotlib the pictures are left out, which the page says. Raises DataError where no row can be
    judged or the folder cannot be written.
    """
    result = evaluate(table)
    _write(out / "metrics.json", json.dumps(result.to_dict(), indent=2, allow_nan=False) + "\n")
    save_predictions(table, out / "predictions.csv")
    try:
        _draw(result, out)
        missing = ""
    except MissingDependencyError as error:
        missing = f"No pictures: {error.message} {error.hint}"
        for name in PICTURES:  # pictures of an earlier report would belong to other predictions
            (out / name).unlink(missing_ok=True)
    _write(out / "report.html", _page(result, out, missing))
    return result


def add_result(result: Evaluation, path: Path, name: str) -> None:
    """Add or replace one model's row, with intervals, in a csv of results."""
    row: dict[str, str] = {"model": name, "n": str(result.n), "units": str(result.units), "unit": result.unit}
    for metric, value in result.metrics.items():
        low, high = result.intervals[metric]
        row |= {metric: _cell(value), f"{metric}_low": _cell(low), f"{metric}_high": _cell(high)}
    row["machine"] = describe_machine()
    row["date"] = date.today().isoformat()
    replace_rows(path, [row], ("model",))


def _draw(result: Evaluation, out: Path) -> None:
    from threeages.evaluation import plots

    plots.save_figure(plots.plot_confusion(result.confusion), out / "confusion.png")
    plots.save_figure(plots.plot_reliability(result.reliability), out / "reliability.png")


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _page(result: Evaluation, out: Path, missing: str) -> str:
    unit = "images" if result.unit == "image" else f"values of {result.unit}"
    return _PAGE.substitute(
        summary=_summary(result),
        figures=_table(
            ("Figure", "Value", "95% interval"),
            ((NAMES[k], _number(v), _interval(result.intervals[k])) for k, v in result.metrics.items()),
        ),
        note=escape(
            f"Intervals: bootstrap over {result.units:,} {unit}. Averages over classes count those present."
        ),
        classes=_table(
            ("Class", "Precision", "Recall", "F1", "Images"),
            (
                (k, *(_number(v[f]) for f in ("precision", "recall", "f1")), f"{v['support']:,}")
                for k, v in result.per_class.items()
            ),
        ),
        pictures=f"<p>{escape(missing)}</p>" if missing else _pictures(out),
        slices=_slices(result),
    )


def _summary(result: Evaluation) -> str:
    text = f"{result.n:,} images judged."
    if result.n_failed:
        text += f" {result.n_failed:,} were not, and count in no figure: "
        text += ", ".join(f"{status}: {n:,}" for status, n in result.failed.items()) + "."
    return escape(text)


def _slices(result: Evaluation) -> str:
    parts = []
    for column, values in result.slices.items():
        rows = ((v, f"{f['n']:,}", *(_number(f[k]) for k in SLICE_FIGURES)) for v, f in values.items())
        header = (column, "Images", *(NAMES[k] for k in SLICE_FIGURES))
        parts.append(f"<h3>By {escape(column)}</h3>\n{_table(header, rows)}")
    return "<h2>Slices</h2>\n" + "\n".join(parts) if parts else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An html table whose first column names the rows; every text is escaped here."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in header)
    lines = (
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(c)}</td>" for c in cells)
        + "</tr>"
        for first, *cells in rows
    )
    body = "\n".join(lines)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _pictures(out: Path) -> str:
    return "\n".join(_picture(out / name, alt) for name, alt in PICTURES.items())


def _picture(path: Path, alt: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _cell(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"


def _interval(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "not defined"
