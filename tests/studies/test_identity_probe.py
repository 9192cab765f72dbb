from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("concept_erasure", reason="concept-erasure is not installed (extra 'explain')")

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.split import Split
from threeages.data.train_digests import create_train_digests, save_train_digests
from threeages.errors import DataError
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.studies.identity_probe import (
    collect_data,
    describe_few,
    open_probe,
    run_probe,
    save_probe,
    summarize_probe,
)
from threeages.studies.probing import ERASED
from threeages.studies.run_split import read_run_split
from threeages.training import build
from threeages.training.checkpoint import BEST, save_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.features import EMBEDDING, POOLED, ManifestFeatures

NUM_IDENTITIES, EACH = 15, 20
NONE = np.empty(0, dtype=np.int64)


def _manifest(**columns: tuple[str, ...]) -> Manifest:
    n = NUM_IDENTITIES * EACH
    names = tuple(f"p{i // EACH}" for i in range(n))
    labels = np.arange(n) // EACH % 3
    return Manifest(Path(), tuple(f"{i}.jpg" for i in range(n)), labels, {"identity": names, **columns})


def _features(manifest: Manifest) -> ManifestFeatures:
    rng = np.random.default_rng(0)
    who = np.arange(len(manifest)) // EACH
    values = rng.normal(size=(len(manifest), 16)).astype(np.float32)
    values += 3 * rng.normal(size=(NUM_IDENTITIES, 16)).astype(np.float32)[who]
    folds = [np.isin(who, np.arange(NUM_IDENTITIES) // 3 * 3 + fold) for fold in range(3)]
    splits = [Split(np.flatnonzero(~test), NONE, np.flatnonzero(test), 0) for test in folds]
    return ManifestFeatures(values, POOLED, tuple(splits))


def test_accuracies_fall_where_the_identity_is_erased(tmp_path: Path) -> None:
    manifest = _manifest(film=tuple(f"f{i % 4}" for i in range(NUM_IDENTITIES * EACH)))
    rows = run_probe(collect_data(manifest, _features(manifest)))
    before, after, within, control = rows
    assert [row["erased"] for row in rows] == list(ERASED)
    assert control["removed"] == after["removed"]
    for name in ("identity_images", "identity_films"):
        assert float(before[name]) > 0.9
        assert float(after[name]) < 0.35
        assert float(after[name]) <= float(within[name]) < float(before[name])
    assert float(before["chance"]) < 0.2
    assert int(before["removed"]) == 0 < int(within["removed"]) < int(after["removed"])
    assert before["n"] == str(len(manifest))
    assert float(before["accuracy_low"]) <= float(before["accuracy"]) <= float(before["accuracy_high"])
    out = tmp_path / "probe.csv"
    for _ in range(2):
        save_probe(rows, "recipe", POOLED, out)
    found = read_csv(out)
    assert len(found.rows) == len(ERASED)
    assert {"machine", "date", "commit"} <= set(found.columns)
    assert "p1" not in out.read_text()  # no identity is named
    header, lines = summarize_probe(rows)
    assert len(header) == len(lines[0])


def test_without_films_their_columns_are_empty() -> None:
    manifest = _manifest()
    rows = run_probe(collect_data(manifest, _features(manifest)))
    assert {row["identity_films"] for row in rows} == {""}


def test_rows_without_identity_or_label_and_of_other_sources_are_left_out() -> None:
    n = NUM_IDENTITIES * EACH
    manifest = _manifest(source=tuple("a" if i < n - EACH else "b" for i in range(n)))
    manifest.labels[0] = -1
    data = collect_data(manifest, _features(manifest), ("source", "a"))
    assert len(data.identities) == n - EACH - 1
    assert max(map(np.max, (part for fold in data.folds for part in fold))) == n - EACH - 2


def test_a_manifest_without_identities_is_refused() -> None:
    manifest = _manifest()
    found = _features(manifest)
    bare = Manifest(manifest.root, manifest.paths, manifest.labels)
    with pytest.raises(DataError, match="names no identities"):
        collect_data(bare, found)
    single = Manifest(manifest.root, manifest.paths, manifest.labels, {"identity": manifest.paths})
    with pytest.raises(DataError, match="No two identities"):
        collect_data(single, found)


def test_few_identities_are_said_to_be_too_few() -> None:
    few = {"identities": "2", "held_out_identities": "12"}
    assert list(describe_few([few])) == [
        "Too few to tell: 2 identities are named by the probe, and 10 or more are needed."
    ]
    many = {"identities": "10", "held_out_identities": "10"}
    assert list(describe_few([many])) == []


def test_rows_of_one_age_group_are_refused() -> None:
    manifest = _manifest()
    found = _features(manifest)
    manifest.labels[:] = 2
    with pytest.raises(DataError, match="All train rows with identities are OLD"):
        collect_data(manifest, found)


def test_with_only_no_other_row_is_read(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a recipe the split is made within the rows; of a run it is what the run's folder says."""
    monkeypatch.setattr("threeages.studies.identity_probe.LEAST_IMAGES", 5)
    manifest = load_manifest(faces_csv)
    who = np.asarray(manifest.columns["identity"])
    names = list(dict.fromkeys(who.tolist()))
    cells = ["a" if name in names[:18] else "b" for name in who]
    manifest = replace(manifest, columns=manifest.columns | {"part": tuple(cells)})
    read: list[str] = []
    opened = build.open_faces
    monkeypatch.setattr(
        build,
        "open_faces",
        lambda rows, *given, **named: read.extend(rows.paths) or opened(rows, *given, **named),
    )
    config = TrainConfig(
        model="cnn", input_size=32, options={"filters": [4], "kernels": [3], "dense": 8}, folds=3
    )
    data, kind = open_probe(manifest, config, None, ("part", "a"), tmp_path / "cache")
    assert (kind, len(data.identities), len(data.folds)) == (POOLED, 90, 3)
    run = _save_run(manifest, config, names, tmp_path / "run")
    data, kind = open_probe(manifest, config, run, ("part", "a"), tmp_path / "cache")
    assert (kind, len(data.identities)) == (EMBEDDING, 90)
    ((train, test),) = data.folds
    assert (len(train), len(test)) == (60, 20)  # 12 identities trained on, 4 tested, 2 for validation
    assert set(read) == {path for path, cell in zip(manifest.paths, cells, strict=True) if cell == "a"}


def _save_run(manifest: Manifest, config: TrainConfig, names: list[str], run: Path) -> Path:
    """A run that was trained on twelve identities of part a and tested on four of it and two of part b."""
    save_checkpoint(run / BEST, build.create_model(config))
    save_train_digests(create_train_digests(np.zeros((1, 16), dtype=np.uint8), names[:12]), run)
    tested = [i for i, name in enumerate(manifest.columns["identity"]) if name in names[14:20]]
    part = manifest.select(np.asarray(tested))
    probs = np.full((len(part), 3), 1 / 3)
    table = PredictionTable(part.paths, part.labels, ("ok",) * len(part), probs, probs.max(axis=1))
    save_predictions(table, run / "predictions.csv")
    return run


def test_a_run_that_does_not_name_its_rows_has_no_split_to_read(tmp_path: Path) -> None:
    assert read_run_split(_manifest(), tmp_path) is None
