import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.synthetic import draw_face
from threeages.evaluation.extremes import find_extremes
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.sheet import SIDE, write_sheet


def _create(tmp_path: Path, names: list[str]) -> PredictionTable:
    for i, name in enumerate(names):
        Image.fromarray(draw_face(30, i, np.random.default_rng(i))).resize((300, 200)).save(tmp_path / name)
    probs = np.tile([0.7, 0.2, 0.1], (len(names), 1))
    labels = np.arange(len(names)) % 2
    return PredictionTable(tuple(names), labels, ("ok",) * len(names), probs, probs.max(axis=1))


def test_every_row_has_a_small_picture_and_a_mark(tmp_path: Path) -> None:
    table = _create(tmp_path, ["a.png", "b&<i>.png"])
    written = write_sheet(table, find_extremes(table, 5), tmp_path, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert written.shown == 4  # a hit, a mistake, and both among the least sure
    assert written.unreadable == {}
    assert page.count('<figure class="hit">') == page.count('<figure class="mistake">') == 2
    assert page.count("label MIDDLE") == 2
    assert "b&amp;&lt;i&gt;.png" in page
    assert "<i>" not in page
    pictures = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page)
    assert len(pictures) == 4
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as image:
        assert max(image.size) == SIDE
    assert "http" not in page


def test_an_image_that_is_gone_costs_no_other_its_place(tmp_path: Path) -> None:
    table = _create(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").unlink()
    written = write_sheet(table, find_extremes(table, 5), tmp_path, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert list(written.unreadable) == ["b.png"]
    assert page.count('<p class="none">') == 2
    assert page.count("<img") == 2


def test_a_kind_without_rows_says_so(tmp_path: Path) -> None:
    table = _create(tmp_path, ["a.png"])
    write_sheet(table, find_extremes(table, 5), tmp_path, tmp_path / "sheet.html")
    assert "There are none." in (tmp_path / "sheet.html").read_text(encoding="utf-8")


def test_a_path_that_leaves_the_root_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    table = _create(tmp_path, ["secret.png"])
    (tmp_path / "root" / "inside.png").write_bytes((tmp_path / "secret.png").read_bytes())
    monkeypatch.chdir(tmp_path / "root")
    for root in (tmp_path / "root", Path()):
        for name in ("../secret.png", str(tmp_path / "secret.png"), "inside.png"):
            one = replace(table, paths=(name,))
            written = write_sheet(one, find_extremes(one, 5), root, tmp_path / "sheet.html")
            assert written.pictures == (name == "inside.png")
            assert ("is not inside" in str(written.unreadable)) == (name != "inside.png")
