import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest
from threeages.errors import DataError, MissingDependencyError
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.suspects import (
    describe_few,
    describe_suspects,
    find_suspects,
    match_rows,
    rank_labels,
)

N = 90


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(Path(), tuple(f"{i}.jpg" for i in range(N)), np.arange(N) % 3)


@pytest.fixture
def table(manifest: Manifest) -> PredictionTable:
    """Predictions that are right but for row 4."""
    rng = np.random.default_rng(0)
    answers = manifest.labels.copy()
    answers[4] = (answers[4] + 1) % 3
    probs = 0.7 * np.eye(3)[answers] + 0.3 * rng.dirichlet((2, 2, 2), N)
    return PredictionTable(manifest.paths, manifest.labels, ("ok",) * N, probs, probs.max(axis=1))


def test_planted_errors_are_found_with_their_right_label(manifest: Manifest, table: PredictionTable) -> None:
    changed = manifest.labels.copy()
    changed[[10, 40]] = (changed[[10, 40]] + 1) % 3
    found = rank_labels(replace(manifest, labels=changed), table)
    assert {suspect.row for suspect in found[:3]} == {4, 10, 40}
    for suspect in found[:3]:
        if suspect.row != 4:
            assert suspect.suggestion == manifest.labels[suspect.row]
    qualities = [suspect.quality for suspect in found]
    assert qualities == sorted(qualities)


def test_duplicates_come_first_and_once(manifest: Manifest, table: PredictionTable) -> None:
    found = find_suspects(manifest, [[4, 30], [7, 8, 13]], table)
    assert [suspect.row for suspect in found[:5]] == [4, 30, 7, 8, 13]
    assert {suspect.reason for suspect in found[:5]} == {"duplicate"}
    assert len({suspect.row for suspect in found}) == len(found)
    assert found[3].suggestion == 1  # 7 and 13 are MIDDLE
    assert found[2].suggestion is None
    assert found[2].others == (8, 13)
    assert found[0].probs is not None


def test_of_two_copies_with_two_labels_the_model_names_one(
    manifest: Manifest, table: PredictionTable
) -> None:
    first, second = find_suspects(manifest, [[4, 30]], table)[:2]
    assert first.suggestion == int(table.probs[4].argmax())
    assert second.suggestion is None


def test_duplicates_need_no_predictions(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    found = find_suspects(manifest, [[0, 1]])
    assert [(s.row, s.probs) for s in found] == [(0, None), (1, None)]


def test_a_copy_without_a_label_is_shown_but_not_asked_about(manifest: Manifest) -> None:
    labels = manifest.labels.copy()
    labels[5] = -1
    found = find_suspects(replace(manifest, labels=labels), [[3, 4, 5]])
    assert [suspect.row for suspect in found] == [3, 4]
    assert found[0].others == (4, 5)


@pytest.mark.parametrize("split", ["random", "none"])
def test_probabilities_of_persons_trained_on_are_refused(
    manifest: Manifest, table: PredictionTable, split: str
) -> None:
    with pytest.raises(DataError, match=f"a {split} split"):
        rank_labels(manifest, replace(table, provenance=Provenance(split)))


def test_predictions_of_other_images_are_refused(manifest: Manifest, table: PredictionTable) -> None:
    others = replace(table, paths=tuple(f"x/{path}" for path in table.paths))
    with pytest.raises(DataError, match="None of 90 predictions"):
        rank_labels(manifest, others)


def test_predictions_of_one_group_alone_are_refused(manifest: Manifest, table: PredictionTable) -> None:
    with pytest.raises(DataError, match="all three age groups"):
        rank_labels(manifest, table.take(list(range(0, N, 3))))


def test_without_cleanlab_the_extra_is_named(
    manifest: Manifest, table: PredictionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingDependencyError, match="audit"):
        rank_labels(manifest, table)


def test_the_labels_reviewed_are_those_of_the_manifest(manifest: Manifest, table: PredictionTable) -> None:
    relabelled = replace(table, labels=(table.labels + 1) % 3)
    assert [s.row for s in rank_labels(manifest, relabelled)] == [s.row for s in rank_labels(manifest, table)]


def test_rows_without_answer_or_label_are_left_out_and_two_answers_averaged(
    manifest: Manifest, table: PredictionTable
) -> None:
    probs = table.probs.copy()
    probs[0] = np.nan
    labels = manifest.labels.copy()
    labels[1] = -1
    paths = (*table.paths[:89], "2.jpg")
    rows, found = match_rows(replace(manifest, labels=labels), replace(table, probs=probs, paths=paths))
    assert rows.tolist() == list(range(2, 89))
    assert found[0] == pytest.approx((probs[2] + probs[89]) / 2)


def test_a_row_of_text_names_the_copies(manifest: Manifest, table: PredictionTable) -> None:
    first, *_ = describe_suspects(manifest, find_suspects(manifest, [[0, 1, 3]], table))
    assert first["path"] == "0.jpg"
    assert (first["label"], first["suggestion"], first["duplicates"]) == ("YOUNG", "", "1.jpg;3.jpg")
    assert 0 <= float(first["quality"]) <= 1


def test_an_age_group_with_few_labels_is_named(manifest: Manifest, table: PredictionTable) -> None:
    assert list(describe_few(manifest, table)) == []
    few = replace(manifest, labels=np.where((manifest.labels == 2) & (np.arange(N) > 5), 1, manifest.labels))
    assert list(describe_few(few, table)) == [
        "2 labels of OLD have predictions: too few to tell which are wrong, as 10 or more are needed."
    ]
