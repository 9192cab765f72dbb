import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from threeages.errors import DataError, MissingDependencyError
from threeages.evaluation import plots

HISTORY = [
    {"epoch": e, "train_loss": 1 / e, "val_loss": 1.2 / e, "train_accuracy": 0.3 * e, "val_accuracy": v}
    for e, v in ((1, 0.2), (2, 0.6), (3, 0.5))
]
BINS = [
    {"low": 0.4, "high": 0.5, "n": 4, "confidence": 0.45, "accuracy": 0.5},
    {"low": 0.9, "high": 1.0, "n": 6, "confidence": 0.97, "accuracy": 0.8},
]


def _texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_confusion_shows_share_and_count_and_n() -> None:
    (axes,) = plots.plot_confusion(np.array([[3, 1, 0], [0, 0, 0], [0, 5, 5]])).axes
    assert _texts(axes) == ["75%\n3", "25%\n1", "0%\n0", "-", "-", "-", "0%\n0", "50%\n5", "50%\n5"]
    assert "n=14" in axes.get_title(loc="left")


def test_reliability_shows_the_bins() -> None:
    axes, below = plots.plot_reliability(BINS).axes
    line = next(x for x in axes.lines if x.get_label() == "accuracy")
    assert np.asarray(line.get_xydata()).tolist() == [[0.45, 0.5], [0.97, 0.8]]
    assert [p.get_height() for p in below.patches if isinstance(p, Rectangle)] == [4, 6]
    assert "n=10" in axes.get_title(loc="left")


def test_the_pictures_of_a_report_have_one_size() -> None:
    confusion, reliability = plots.plot_confusion(np.eye(3, dtype=np.int64)), plots.plot_reliability(BINS)
    assert confusion.get_size_inches().tolist() == reliability.get_size_inches().tolist()


def test_curves_mark_the_best_epoch() -> None:
    accuracy, loss = plots.plot_curves(HISTORY, {"unfreeze": 2}).axes
    for axes in (accuracy, loss):
        assert [x.get_label() for x in axes.lines] == ["train", "val", "best (epoch 2)", "unfreeze (epoch 2)"]
    assert accuracy.lines[1].get_ydata() == pytest.approx([0.2, 0.6, 0.5])
    (marked, _) = plots.plot_curves(HISTORY, {"best": 3}).axes
    assert marked.lines[-1].get_label() == "best (epoch 3)"
    with pytest.raises(DataError, match="empty"):
        plots.plot_curves([])


def test_losses_of_different_kinds_have_an_axis_each() -> None:
    further = {"train_years_loss": 4.0, "val_years_mae": 5.0, "train_teacher_loss": 0.9}
    figure = plots.plot_curves([{**epoch, **further} for epoch in HISTORY])
    _, group, years, teacher = figure.axes
    assert [line.get_label() for line in group.lines] == ["train", "val", "best (epoch 2)"]
    assert group.lines[0].get_ydata() == pytest.approx([1, 1 / 2, 1 / 3])
    assert group.lines[1].get_ydata() == pytest.approx([1.2, 0.6, 0.4])
    for axes, name, loss in ((years, "years", 4.0), (teacher, "teacher", 0.9)):
        assert axes.get_title(loc="left").startswith(f"Loss of {name}")
        assert [line.get_label() for line in axes.lines] == ["train", "best (epoch 2)"]
        assert axes.lines[0].get_ydata() == pytest.approx([loss] * 3)
    assert figure.get_size_inches().tolist() == [10, 8]  # two rows


def test_search_shows_every_trial_and_the_best_so_far() -> None:
    (axes,) = plots.plot_search([(2, 0.5, False), (0, 0.6, False), (1, 0.3, True), (3, 0.7, False)]).axes
    assert [c.get_label() for c in axes.collections] == ["complete", "pruned"]
    assert np.asarray(axes.collections[1].get_offsets()).tolist() == [[1, 0.3]]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [0.6, 0.6, 0.7]
    assert "n=4" in axes.get_title(loc="left")


def test_class_distribution_shows_counts() -> None:
    (axes,) = plots.plot_class_distribution({"YOUNG": 1500, "MIDDLE": 500, "OLD": 0}).axes
    assert _texts(axes) == ["1,500\n75%", "500\n25%", "0\n0%"]
    assert "n=2,000" in axes.get_title(loc="left")


def test_saves_a_picture_and_leaves_nothing_else(tmp_path: Path) -> None:
    plots.save_figure(plots.plot_reliability(BINS), tmp_path / "new" / "r.png")
    with Image.open(tmp_path / "new" / "r.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 500
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["r.png"]
    with pytest.raises(DataError, match="cannot be written as"):
        plots.save_figure(plots.plot_reliability(BINS), tmp_path / "r.xyz")


def test_uses_no_pyplot() -> None:
    code = "import sys; from threeages.evaluation import plots; plots.plot_class_distribution({'OLD': 1}); "
    code += "print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[plots\]"):
        plots.plot_confusion(np.eye(3, dtype=np.int64))
