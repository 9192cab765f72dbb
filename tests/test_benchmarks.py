"""What the benchmarks share; the benchmarks themselves are run by hand."""

import csv
import io
from pathlib import Path

import common
import pytest
from PIL import Image

from threeages.machine import describe_commit


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_says_where_it_was_measured_and_replaces_its_older_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "benchmarks.csv"
    common.add_row("cache", "building", "images/s", 2.0, results=results)
    common.add_row("cache", "reading", "images/s", 3.0, results=results)
    other = ("plain", 5.0)
    common.add_row("cache", "building", "images/s", 10.0, other=other, ratio=2.0, results=results)
    rows = _read(results)
    assert tuple(rows[0]) == common.HEADER
    assert [(row["measure"], row["ours"], row["other"], row["ratio"]) for row in rows] == [
        ("reading", "3.000", "", ""),
        ("building", "10.000", "5.000", "2.000"),
    ]
    assert all(row["machine"] and row["date"] and "onnxruntime" in row["versions"] for row in rows)
    assert rows[0]["commit"] == describe_commit()
    assert "building  images/s  10.000  plain  5.000  2.000" in capsys.readouterr().out


def test_the_columns_are_those_of_the_results() -> None:
    for path in (common.RESULTS, common.RESULTS.with_name("serve.csv")):
        assert tuple(_read(path)[0]) == common.HEADER


def test_both_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def measure(side: str, values: list[float]) -> float:
        order.append(side)
        return values.pop()

    first, second = [3.0, 9.0, 1.0], [4.0, 4.0, 6.0]
    medians = common.alternate(lambda: measure("ours", first), lambda: measure("other", second), 3)
    assert medians == (3.0, 4.0)
    assert order == ["ours", "other"] * 3


def test_faces_are_drawn_where_there_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEAGES_DATA", str(tmp_path / "none"))
    manifest, origin = common.load_faces(12, tmp_path)
    assert (len(manifest), origin) == (12, "drawn faces")


def test_the_eight_photos_differ() -> None:
    photos = [common.make_photo(i) for i in range(8)]
    assert len(set(photos)) == 8
    with Image.open(io.BytesIO(photos[0])) as image:
        assert image.size == (640, 480)
