"""The peers and the package on the same faces of every source; the peers themselves are run by hand."""

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import every_source
import numpy as np
import pytest
from answers import BOUNDS, to_groups

from threeages.data.manifest import Manifest, save_manifest
from threeages.errors import DataError
from threeages.evaluation.metrics import paired_differences
from threeages.evaluation.predictions import PredictionTable, load_predictions, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.labels import UNKNOWN
from threeages.studies.cross_source import MEAN, create_row, save_table

PEER = """
import csv, sys
with open(sys.argv[1], newline="") as listed, open(sys.argv[2], "w", newline="") as out:
    rows = [[row["file"], int(row["file"][-6:-4]) + 4, True] for row in csv.DictReader(listed)]
    csv.writer(out).writerows([["file", "years", "found"], *rows])
"""  # it reads the age off the file's name, and is four years too old
SOURCES = {"a": ("a",), "both": ("b", "c")}


def _manifest(root: Path = Path()) -> Manifest:
    """Rows without images: 400 of `a`, half of them of one of 20 identities, and 150 of `b` and `c`."""
    ages = [20 * (i % 3) + 21 + 7 * i % 10 for i in range(550)]
    labels = np.digitize(ages, BOUNDS)
    labels[::11] = UNKNOWN
    columns = {
        "source": tuple("a" if i < 400 else "bc"[i % 2] for i in range(550)),
        "identity": tuple(f"p{max(i % 40 - 20, 0)}" if i < 400 else "" for i in range(550)),
        "age": tuple(map(str, ages)),
    }
    return Manifest(root, tuple(f"{i:03}-{age}.jpg" for i, age in enumerate(ages)), labels, columns)


def _answer(manifest: Manifest, years: Sequence[int]) -> PredictionTable:
    """Predictions of these years, 0.8 on their group."""
    n = len(manifest)
    empty = np.full((n, 3), np.nan)
    table = PredictionTable(manifest.paths, manifest.labels, ("",) * n, empty, empty[:, 0])
    table = to_groups(table, np.asarray(years, dtype=np.float64), BOUNDS)
    return replace(table, probs=np.where(table.probs == 1, 0.8, 0.1))


def test_the_sample_takes_identities_in_turn_and_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_source, "SCARCE", 0)
    manifest = _manifest()
    sample = every_source.take_sample(manifest, {"a": ("a",)}, 100)
    assert (sample.labels != UNKNOWN).all()
    assert Counter(sample.columns["identity"]) == {f"p{i}": 5 for i in range(20)}
    assert sample.paths == every_source.take_sample(manifest, {"a": ("a",)}, 100).paths
    assert set(sample.paths) < set(every_source.take_sample(manifest, {"a": ("a",)}, 120).paths)


def test_a_source_with_few_of_an_age_group_is_taken_whole() -> None:
    manifest = _manifest()
    labelled = int((manifest.labels[400:] != UNKNOWN).sum())
    assert len(every_source.take_sample(manifest, {"both": ("b", "c")}, 60)) == labelled


def test_the_best_bounds_are_those_of_the_highest_balanced_accuracy() -> None:
    manifest = _manifest()
    rows = manifest.select(np.flatnonzero(manifest.labels != UNKNOWN))
    shifted = [int(age) + 9 for age in rows.columns["age"]]
    table, bounds = every_source.cut_at_best(_answer(rows, shifted))
    assert bounds == (BOUNDS[0] + 9, BOUNDS[1] + 9)
    assert (table.probs.argmax(axis=1) == rows.labels).all()


def _run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, peer: Sequence[str], *answers: Path
) -> list[dict[str, str]]:
    words = [str(folder / "all.csv"), "--folder", str(folder / "run"), "--out", str(folder / "table.csv")]
    words += ["--join", "both=b,c", "--faces", "200", "--peer", "peer", *peer]
    words += ["--answers", "ours", *map(str, answers)] if answers else []
    monkeypatch.setattr(sys, "argv", ["every_source.py", *words])
    every_source.main()
    return list(read_csv(folder / "table.csv").rows)


def test_peer_and_package_stand_beside_each_other_on_the_same_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = _manifest(tmp_path)
    save_manifest(manifest, tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(PEER)
    whole = _answer(manifest, [int(age) for age in manifest.columns["age"]])
    save_table([{"recipe": ""} | create_row("ours", "a", whole)], tmp_path / "table.csv")

    first = _run(monkeypatch, tmp_path, [sys.executable, str(tmp_path / "peer.py")])
    assert [row["faces"] for row in first] == ["all"] + ["sample"] * 6
    assert all(not row["ahead"] for row in first)

    save_predictions(whole.take(range(400)), tmp_path / "a.csv")
    save_predictions(whole.take(range(400, 550)), tmp_path / "both.csv")
    rows = _run(monkeypatch, tmp_path, ["no such command"], tmp_path / "a.csv", tmp_path / "both.csv")
    assert rows[0] == first[0]  # the row of all faces stays
    found = {(row["model"], row["held_out"]): row for row in rows[1:]}
    usual, best = "peer, cut at 31 and 51", "peer, cut at its best"
    assert set(found) == {(name, source) for name in ("ours", usual, best) for source in ("a", "both", MEAN)}
    assert {row["n"] for (_, source), row in found.items() if source == "a"} == {"200"}
    assert all(bool(row["ece"]) == (name == "ours") for (name, _), row in found.items())
    assert float(found[usual, "a"]["years_mae"]) == 4
    assert float(found[best, "a"]["balanced_accuracy"]) > float(found[usual, "a"]["balanced_accuracy"])

    sample = load_predictions(tmp_path / "run" / "peer" / "a.csv")
    places = [whole.paths.index(path) for path in sample.paths]
    expected = paired_differences(sample.labels, sample.probs, whole.probs[places], sample.identities())
    row = found[usual, "a"]
    assert [float(row[f"ahead{end}"]) for end in ("", "_low", "_high")] == pytest.approx(
        expected["balanced_accuracy"], abs=1e-4
    )


def test_the_peer_is_asked_for_the_faces_that_it_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(every_source, "CHUNK", 60)
    save_manifest(_manifest(tmp_path), tmp_path / "all.csv")
    (tmp_path / "peer.py").write_text(
        f"{PEER}\nprint(len(rows), file=open({str(tmp_path / 'asked')!r}, 'a'))"
    )
    peer = [sys.executable, str(tmp_path / "peer.py")]
    rows = _run(monkeypatch, tmp_path, peer)
    assert (tmp_path / "asked").read_text().split() == ["60", "60", "60", "20", "60", "60", "17"]
    path = tmp_path / "run" / "peer" / "a.csv"
    save_predictions(load_predictions(path).take(range(30, 190)), path)  # stopped, and of an older sample
    assert _run(monkeypatch, tmp_path, peer) == rows
    assert (tmp_path / "asked").read_text().split()[7:] == ["40"]


def test_answers_to_a_part_of_the_sample_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = _manifest(tmp_path)
    save_manifest(manifest, tmp_path / "all.csv")
    table = _answer(manifest, [int(age) for age in manifest.columns["age"]])
    save_predictions(table.take(range(300)), tmp_path / "part.csv")
    with pytest.raises(DataError, match=r"part.csv lacks \d+ of the images"):
        _run(monkeypatch, tmp_path, ["no such command"], tmp_path / "part.csv")


def test_the_table_in_the_repository_has_the_rows_columns() -> None:
    path = Path(__file__).parents[1] / "results" / "cross-source.csv"
    with path.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    manifest = _manifest()
    row = create_row("ours", "a", _answer(manifest, [int(age) for age in manifest.columns["age"]]))
    assert header == ["recipe", *row, "machine", "date", "commit"]
