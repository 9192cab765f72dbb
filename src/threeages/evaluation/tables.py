"""What cards and pages are made of: templates, tables in Markdown, and numbers as text."""

import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

from threeages.evaluation.enough import TOO_FEW
from threeages.evaluation.evaluate import Evaluation

METRIC_TITLES = {
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
UNDEFINED, NO_INTERVAL = "not defined", "no interval"


def load_template(name: str) -> Template:
    """A file of evaluation/templates, with `$name` where a text belongs."""
    return Template((files("threeages.evaluation") / "templates" / name).read_text(encoding="utf-8"))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a '|' inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def format_number(value: float) -> str:
    """Three decimals; 'not defined' for NaN."""
    return f"{value:.3f}" if math.isfinite(value) else UNDEFINED


def format_interval(bounds: tuple[float, float]) -> str:
    """Such as '0.701-0.757'; 'not defined' where there is no interval."""
    low, high = bounds
    return f"{low:.3f}-{high:.3f}" if math.isfinite(low) else UNDEFINED


def format_with_interval(result: Evaluation, metric: str) -> str:
    """A metric with its 95 % interval, such as '0.715 (0.670-0.758)'."""
    return f"{format_number(result.metrics[metric])} ({describe_interval(result, metric)})"


def describe_interval(result: Evaluation, metric: str) -> str:
    """The 95 % interval of a metric, or the words why there is none."""
    bounds = result.intervals[metric]
    if math.isfinite(bounds[0]) or not math.isfinite(result.metrics[metric]):
        return format_interval(bounds)
    return TOO_FEW if result.too_few else NO_INTERVAL
