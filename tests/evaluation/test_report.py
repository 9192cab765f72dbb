import html.parser
import json

import numpy as np
import pytest

from threeages.errors import DataError, MissingDependencyError
from threeages.evaluation import plots
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.evaluation.report import write_report

FILES = {"metrics.json", "predictions.csv", "confusion.png", "reliability.png", "report.html"}


def _table():
    n = 40
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=n)
    probs = rng.dirichlet((1, 1, 1), n) * 0.5 + 0.5 * np.eye(3)[labels]
    columns = {
        "identity": tuple(str(i % 8) for i in range(n)),
        "<b>": tuple(f"<i>{i % 2}&" for i in range(n)),
    }
    status = ("<bad>", *["ok"] * (n - 1))
    probs[0] = np.nan
    return PredictionTable(tuple(f"{i}.jpg" for i in range(n)), labels, status, probs, probs.max(1), columns)


class _Outline(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in {"src", "href"}]


def test_writes_every_file(tmp_path):
    table = _table()
    result = write_report(table, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result.to_dict()
    np.testing.assert_array_equal(load_predictions(tmp_path / "out" / "predictions.csv").probs, table.probs)


def test_page_is_self_contained_and_escaped(tmp_path):
    result = write_report(_table(), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    outline = _Outline()
    outline.feed(text)
    assert not {"b", "i", "bad", "script", "link"} & set(outline.tags)
    assert len(outline.links) == 2
    assert all(x.startswith("data:image/png;base64,iVBOR") for x in outline.links)
    assert "&lt;i&gt;0&amp;" in text
    assert "&lt;bad&gt;: 1" in text
    low, high = result.intervals["accuracy"]
    assert f"<td>{result.metrics['accuracy']:.3f}</td><td>{low:.3f} to {high:.3f}</td>" in text
    assert "8 values of identity" in text
    assert "prefers-color-scheme: dark" in text


def test_without_matplotlib_one_line_says_so(tmp_path, monkeypatch):
    write_report(_table(), tmp_path)

    def absent(_):
        raise MissingDependencyError("matplotlib", "plots")

    monkeypatch.setattr(plots, "plot_confusion", absent)
    write_report(_table(), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"metrics.json", "predictions.csv", "report.html"}
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img" not in text
    assert "No pictures: " in text


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="Cannot write"):
        write_report(_table(), tmp_path / "file" / "out")
