"""From a result to a figure; the only importer of matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, MissingDependencyError
from threeages.files import atomic_path
from threeages.labels import AGE_GROUPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Three of Okabe and Ito's colours, told apart also with the common colour-vision deficiencies.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6b7280"
CLASS_COLORS = dict(zip(AGE_GROUPS, (GREEN, BLUE, ORANGE), strict=True))
DPI = 150


def plot_confusion(confusion: NDArray[np.int64]) -> "Figure":
    """Confusion matrix `(3, 3)`, row the label and column the answer: share of the row, count below it."""
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure, (axes,) = _figure(1, 5.2, 4.6)
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
    _label(axes, f"Confusion matrix, n={counts.sum():,}", "answer", "label")
    return figure


def plot_reliability(bins: Sequence[Mapping[str, float]]) -> "Figure":
    """Accuracy against confidence, and how many answers have it; `bins` as of `metrics.reliability_bins`."""
    figure, (axes, below) = _figure(2, 5.2, 5.6, rows=(3, 1))
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


def plot_curves(history: Sequence[Mapping[str, float]], marks: Mapping[str, float] | None = None) -> "Figure":
    """Accuracy and loss by epoch, one mapping an epoch: `epoch` and `train_` and `val_` `accuracy`, `loss`.

    What an epoch lacks is left out of its curve. `marks` names epochs to mark with a line, such as
    `{"best": 12}`; without a mark 'best' the epoch of the highest `val_accuracy` is marked. Raises DataError
    on an empty history.
    """
    if not history:
        raise DataError("The training history is empty.", hint="Train for at least one epoch first.")
    figure, panels = _figure(2, 10, 4, columns=True)
    lines = {**_best(history), **(marks or {})}
    for axes, figure_name in zip(panels, ("accuracy", "loss"), strict=True):
        for part, color in (("train", BLUE), ("val", ORANGE)):
            points = [(e["epoch"], e[key]) for e in history if (key := f"{part}_{figure_name}") in e]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker=".", label=part)
        for (name, epoch), style in zip(lines.items(), _styles(len(lines)), strict=True):
            axes.axvline(epoch, color=GREY, linestyle=style, linewidth=1.2, label=f"{name} (epoch {epoch:g})")
        axes.locator_params(axis="x", integer=True)
        axes.legend(frameon=False)
        _label(axes, f"{figure_name.capitalize()}, n={len(history)} epochs", "epoch", figure_name)
    return figure


Trial = tuple[int, float, bool]  # number, best accuracy, cut short


def plot_search(trials: Sequence[Trial]) -> "Figure":
    """Accuracy of each trial of a search, those cut short in grey, and the best so far; not empty."""
    figure, (axes,) = _figure(1, 7, 4)
    ordered = sorted(trials)
    for cut, color, name in ((False, BLUE, "whole"), (True, GREY, "cut short")):
        points = [(number, value) for number, value, was_cut in ordered if was_cut == cut]
        if points:
            axes.scatter(*zip(*points, strict=True), color=color, label=name)
    whole = [(number, value) for number, value, cut in ordered if not cut]
    best = np.maximum.accumulate([value for _, value in whole])
    axes.step([number for number, _ in whole], best, color=ORANGE, where="post", label="best so far")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, loc="lower right")
    _label(axes, f"Search, n={len(ordered)} trials", "trial", "accuracy")
    return figure


def plot_class_distribution(counts: Mapping[str, int]) -> "Figure":
    """Images of each class by name."""
    total = sum(counts.values())
    figure, (axes,) = _figure(1, 5.2, 4)
    colors = [CLASS_COLORS.get(name, GREY) for name in counts]
    bars = axes.bar(list(counts), list(counts.values()), color=colors)
    axes.bar_label(bars, [f"{c:,}\n{c / max(total, 1):.0%}" for c in counts.values()], padding=3)
    axes.set_ylim(0, 1.2 * max([1, *counts.values()]))
    _label(axes, f"Images by age group, n={total:,}", "", "images")
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write the figure in the format of the path's suffix (png, svg, pdf); raises DataError if it cannot."""
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise DataError(f"A figure cannot be written as '{path.name}'.", hint="Allowed: .png, .svg or .pdf.")
    with atomic_path(path) as part:
        figure.savefig(part, format=suffix, dpi=DPI)


def _figure(
    panels: int, width: float, height: float, *, rows: tuple[int, ...] = (1,), columns: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A figure in inches with its panels side by side (`columns`) or stacked with the heights `rows`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plots") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if columns:
        grid: Any = figure.subplots(1, panels, squeeze=False)
    else:
        grid = figure.subplots(panels, 1, squeeze=False, height_ratios=rows)
    return figure, list(grid.ravel())


def _label(axes: "Axes", title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def _best(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    judged = [e for e in history if "val_accuracy" in e]
    return {"best": max(judged, key=lambda e: e["val_accuracy"])["epoch"]} if judged else {}


def _styles(n: int) -> list[str]:
    return [("--", ":", "-.")[i % 3] for i in range(n)]
