from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest, load_manifest
from threeages.data.train_digests import create_train_digests, digest_images
from threeages.errors import DataError
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.report import write_report
from threeages.evaluation.thresholds import measure_thresholds
from threeages.evaluation.trained_on import (
    TRAINED_ON,
    check_held_out,
    describe_trained,
    describe_unknown,
    mark_rows,
)
from threeages.evaluation.unseen import evaluate_unseen, write_unseen


def _table(cells: Sequence[str] = (), n: int = 120) -> PredictionTable:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet((0.5, 0.5, 0.5), n)
    columns = {"identity": tuple(f"p{i % 60}" for i in range(n))}
    if cells:
        columns[TRAINED_ON] = tuple(cells[i % len(cells)] for i in range(n))
    paths = tuple(f"{i}.jpg" for i in range(n))
    return PredictionTable(paths, np.arange(n) % 3, ("ok",) * n, probs, probs.max(axis=1), columns)


def test_rows_are_marked_by_image_then_by_identity(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv).select(range(15))  # three identities of five images
    names = manifest.columns["identity"]
    digests = create_train_digests(digest_images(manifest.files()[:3]), [names[0], names[10]])
    marked = mark_rows(manifest, digests)
    assert marked.columns[TRAINED_ON] == (
        *("image",) * 3,
        *("identity",) * 2,
        *("no",) * 5,
        *("identity",) * 5,
    )
    nameless = mark_rows(Manifest(manifest.root, manifest.paths, manifest.labels), digests)
    assert nameless.columns[TRAINED_ON] == (*("image",) * 3, *("no",) * 12)
    away = mark_rows(replace(manifest, root=tmp_path), digests)  # no image can be read
    assert "image" not in away.columns[TRAINED_ON]


def test_the_warning_counts_images_and_identities_apart(tmp_path: Path) -> None:
    (note,) = describe_trained(_table(("image", "image", "identity", "no")))
    assert note.startswith(
        "Of 120 scored images 60 are train images of this model, and 30 more show identities"
    )
    (note,) = describe_trained(_table(("identity", "no")))
    assert note.startswith("Of 120 scored images 60 show identities that it was trained on: expect lower")
    for harmless in (_table(), _table(("no",))):
        assert not list(describe_trained(harmless))
    result = write_report(_table(("image", "no")), tmp_path)
    assert result.notes[0].startswith("Of 120 scored images 60 are train images")
    assert "60 are train images" in (tmp_path / "report.html").read_text()
    assert "60 are train images" in (tmp_path / "metrics.json").read_text()
    assert set(result.slices[TRAINED_ON]) == {"image", "no"}


def test_rows_without_an_answer_do_not_count() -> None:
    table = _table(("image", "no"))
    status = tuple("missing" if i % 2 == 0 else "ok" for i in range(len(table)))
    assert not list(describe_trained(replace(table, status=status)))
    check_held_out(replace(table, status=status), "Thresholds")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(_table(), provenance=Provenance("random", shared_identities=0)), "random split"),
        (_table(("image", "no")), "60 of 120 scored rows"),
        (_table(("identity", "no", "no")), "40 of 120 scored rows"),
    ],
)
def test_thresholds_are_measured_on_held_out_identities_alone(table: PredictionTable, words: str) -> None:
    with pytest.raises(DataError, match=words):
        measure_thresholds(table)
    sources = replace(table, columns=table.columns | {"held_out": ("a", "b") * 60})
    with pytest.raises(DataError, match=words):
        list(write_unseen(sources, evaluate_unseen(sources)))


def test_held_out_rows_are_taken_and_unknown_ones_named() -> None:
    for table in (_table(("no",)), replace(_table(), provenance=Provenance("identity"))):
        assert measure_thresholds(table).n == 120
        assert not list(describe_unknown(table))
    assert measure_thresholds(_table()).n == 120
    assert len(list(describe_unknown(_table()))) == 1
    kept = _table(("image", "no")).where(TRAINED_ON, "no")
    assert measure_thresholds(kept).n == 60
    assert evaluate_table(kept).notes == ()
