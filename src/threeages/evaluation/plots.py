"""From an evaluation to pictures; the only importer of matplotlib."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, MissingDependencyError
from threeages.files.writing import write_bytes
from threeages.labels import AGE_GROUP_COLORS, AGE_GROUPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = AGE_GROUP_COLORS["MIDDLE"], AGE_GROUP_COLORS["OLD"], "#6b7280"
DPI = 150
SIDE_BY_SIDE = (5.2, 4.8)  # inches, of the two pictures that stand beside each other in a report
MAX_COLUMNS = 3  # of curves beside one another
FURTHER_LOSS = re.compile("train_(.+)_loss")  # of a further head or of a teacher's features


def plot_confusion(confusion: NDArray[np.int64]) -> "Figure":
    """Confusion matrix `(3, 3)`, row the label, column the prediction: share of the row, count below it."""
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure, (axes,) = _figure(1, *SIDE_BY_SIDE)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        color = "white" if share > 0.55 else "#1f2937"
        text = f"{share:.0%}\n{counts[i, j]:,}" if totals[i, 0] else "-"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=12)
    ticks = range(len(AGE_GROUPS))
    axes.set_xticks(ticks, AGE_GROUPS)
    axes.set_yticks(ticks, [f"{n}\nn={t:,}" for n, t in zip(AGE_GROUPS, totals[:, 0], strict=True)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _label(axes, f"Confusion matrix, n={counts.sum():,}", "prediction", "label")
    return figure


def plot_reliability(bins: Sequence[Mapping[str, float]]) -> "Figure":
    """Reliability diagram: accuracy against confidence, and the counts, of `metrics.reliability_bins`."""
    figure, (axes, below) = _figure(2, *SIDE_BY_SIDE, rows=(3, 1))
    confidence, accuracy = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
    counts = [b["n"] for b in bins]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.vlines(confidence, confidence, accuracy, color=ORANGE, alpha=0.5, linewidth=2, label="gap")
    axes.plot(confidence, accuracy, color=BLUE, marker="o", label="accuracy")
    axes.set(xlim=(0.3, 1.02), ylim=(0, 1.02))  # of three classes the top one has at least 1/3
    axes.legend(frameon=False, loc="upper left")
    _label(axes, f"Reliability, n={sum(counts):,}", "", "accuracy")
    below.bar(
        [b["low"] for b in bins], counts, [b["high"] - b["low"] for b in bins], align="edge", color=BLUE
    )
    below.set_xlim(0.3, 1.02)
    _label(below, "", "confidence", "images")
    return figure


def plot_risk_coverage(points: Sequence[Mapping[str, float]]) -> "Figure":
    """Share of errors among the most confident answers by coverage, of `selective.compute_risk_coverage`."""
    figure, (axes,) = _figure(1, *SIDE_BY_SIDE)
    coverage, risk = [p["coverage"] for p in points], [p["risk"] for p in points]
    axes.plot(coverage, risk, color=BLUE, marker="o")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.1 * max([0.05, *risk])))
    _label(axes, "Errors among the most confident answers", "coverage", "selective risk")
    return figure


def plot_curves(history: Sequence[Mapping[str, float]], marks: Mapping[str, float] | None = None) -> "Figure":
    """Accuracy and loss by epoch; `history` has a mapping for each epoch.

    Keys are `epoch`, and `accuracy` and `loss` after `train_` and `val_`; what an epoch lacks is absent from
    its curve. Those losses are of the age group on train and validation rows. The loss of anything else,
    `train_NAME_loss`, has an axis of its own. `marks` names epochs to mark with a line, such as
    `{"best": 12}`; without a mark 'best' the epoch of the highest `val_accuracy` is marked. DataError on an
    empty history.
    """
    if not history:
        raise DataError("The training history is empty.", hint="Train for at least one epoch first.")
    panels = _curve_panels(history)
    columns = 2 if len(panels) == 4 else min(len(panels), MAX_COLUMNS)
    figure, grid = _figure(len(panels), 5 * columns, 4 * -(-len(panels) // columns), columns=columns)
    lines = {**_best(history), **(marks or {})}
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for key in curves:
            points = [(epoch["epoch"], epoch[key]) for epoch in history if key in epoch]
            if points:
                part = key.split("_")[0]
                color = BLUE if part == "train" else ORANGE
                axes.plot(*zip(*points, strict=True), color=color, marker=".", label=part)
        for (name, epoch), style in zip(lines.items(), _styles(len(lines)), strict=True):
            axes.axvline(epoch, color=GREY, linestyle=style, linewidth=1.2, label=f"{name} (epoch {epoch:g})")
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
        _label(axes, f"{title}, n={len(history)} epochs", "epoch", title.split()[0].lower())
    return figure


def _curve_panels(history: Sequence[Mapping[str, float]]) -> dict[str, tuple[str, ...]]:
    """Title of each panel with the columns it shows; only losses of one kind share an axis."""
    losses = dict.fromkeys(key for epoch in history for key in epoch if FURTHER_LOSS.fullmatch(key))
    own = "Loss of the age group" if losses else "Loss"
    further = {f"Loss of {key[len('train_') : -len('_loss')]}": (key,) for key in losses}
    return {
        "Accuracy": ("train_accuracy", "val_accuracy"),
        own: ("train_loss", "val_loss"),
        **further,
    }


Trial = tuple[int, float, bool]  # number, best accuracy, pruned


def plot_search(trials: Sequence[Trial]) -> "Figure":
    """Accuracy of each trial of a search, pruned ones in grey, and the best so far; `trials` is not empty."""
    figure, (axes,) = _figure(1, 7, 4)
    ordered = sorted(trials)
    for pruned, color, name in ((False, BLUE, "complete"), (True, GREY, "pruned")):
        points = [(number, value) for number, value, was_pruned in ordered if was_pruned == pruned]
        if points:
            axes.scatter(*zip(*points, strict=True), color=color, label=name)
    complete = [(number, value) for number, value, pruned in ordered if not pruned]
    best = np.maximum.accumulate([value for _, value in complete])
    axes.step([number for number, _ in complete], best, color=ORANGE, where="post", label="best so far")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, loc="lower right")
    _label(axes, f"Search, n={len(ordered)} trials", "trial", "accuracy")
    return figure


def plot_class_distribution(counts: Mapping[str, int]) -> "Figure":
    """Bars of the number of images of each age group by name."""
    total = sum(counts.values())
    figure, (axes,) = _figure(1, 5.2, 4)
    colors = [AGE_GROUP_COLORS.get(name, GREY) for name in counts]
    bars = axes.bar(list(counts), list(counts.values()), color=colors)
    axes.bar_label(bars, [f"{c:,}\n{c / max(total, 1):.0%}" for c in counts.values()], padding=3)
    axes.set_ylim(0, 1.2 * max([1, *counts.values()]))
    _label(axes, f"Images by age group, n={total:,}", "", "images")
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write the figure in the format of the path's suffix (png, svg, pdf); DataError if it cannot."""
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise DataError(f"A figure cannot be written as '{path.name}'.", hint="Allowed: .png, .svg or .pdf.")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=suffix, dpi=DPI)
    write_bytes(path, drawn.getbuffer())


def _figure(
    panels: int, width: float, height: float, *, rows: tuple[int, ...] = (1,), columns: int = 0
) -> "tuple[Figure, list[Axes]]":
    """A figure in inches with its panels in `columns`, or stacked with the heights `rows`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if columns:
        grid: Any = figure.subplots(-(-panels // columns), columns, squeeze=False)
        for unused in grid.ravel()[panels:]:
            unused.remove()
    else:
        grid = figure.subplots(panels, 1, squeeze=False, height_ratios=rows)
    return figure, list(grid.ravel()[:panels])


def _label(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _best(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    validated = [epoch for epoch in history if "val_accuracy" in epoch]
    return {"best": max(validated, key=lambda epoch: epoch["val_accuracy"])["epoch"]} if validated else {}


def _styles(n: int) -> list[str]:
    return [("--", ":", "-.")[i % 3] for i in range(n)]
