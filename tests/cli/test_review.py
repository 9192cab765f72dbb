import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threeages.data.corrections import add_decision, decide
from threeages.data.manifest import Manifest, load_manifest, save_manifest
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.files.csvfiles import read_csv
from threeages.labels import AGE_GROUPS

FLIPPED = 4


@pytest.fixture
def changed(faces_csv: Path, tmp_path: Path) -> Path:
    """A manifest of drawn faces with one wrong label."""
    manifest = load_manifest(faces_csv)
    labels = manifest.labels.copy()
    labels[FLIPPED] = (labels[FLIPPED] + 1) % 3
    save_manifest(replace(manifest, labels=labels), tmp_path / "changed.csv")
    return tmp_path / "changed.csv"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return "--cache-dir", tmp_path_factory.mktemp("cache")


@pytest.fixture
def folds(faces_csv: Path, tmp_path: Path) -> list[Path]:
    """Two csv of predictions that are right."""
    manifest = load_manifest(faces_csv)
    rng = np.random.default_rng(0)
    probs = 0.7 * np.eye(3)[manifest.labels] + 0.3 * rng.dirichlet((2, 2, 2), len(manifest))
    n = len(manifest)
    table = PredictionTable(manifest.paths, manifest.labels, ("ok",) * n, probs, probs.max(axis=1))
    paths = []
    for fold in range(2):
        paths.append(tmp_path / f"fold-{fold}.csv")
        save_predictions(table.take(list(range(fold, n, 2))), paths[-1])
    return paths


def test_suspects_are_written_to_a_csv(
    run_main: Any, changed: Path, folds: list[Path], cache: tuple[str, Path], tmp_path: Path
) -> None:
    ended = run_main("data", "review", changed, *folds, "--table", tmp_path / "s.csv", *cache)
    assert ended.code == 0, ended.err
    assert "to look at" in ended.out
    assert "120 of 120 labels have predictions" in ended.out
    assert ended.err.count("make sure that its model was not trained on these persons") == 2
    first = next(row for row in read_csv(tmp_path / "s.csv").rows if row["reason"] == "probabilities")
    manifest = load_manifest(changed)
    assert first["path"] == manifest.paths[FLIPPED]
    assert first["label"] == AGE_GROUPS[manifest.labels[FLIPPED]]
    assert first["suggestion"] == AGE_GROUPS[(manifest.labels[FLIPPED] + 2) % 3]


def test_the_page_gets_the_suspects_and_the_reviewer(
    run_main: Any,
    changed: Path,
    folds: list[Path],
    cache: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(
        "threeages.server.review.serve_review",
        lambda review, settings, **given: seen.update(given, review=review, settings=settings),
    )
    options = ("--out", tmp_path / "c.csv", "--reviewer", "ann", "--first", "1", *cache)
    ended = run_main("data", "review", changed, *folds, *options)
    assert ended.code == 0, ended.err
    assert "1 of them are open" in ended.out
    review = seen["review"]
    assert (review.reviewer, review.out, len(review.suspects)) == ("ann", tmp_path / "c.csv", 1)
    assert (seen["host"], seen["port"]) == ("127.0.0.1", 8001)
    assert set(seen["settings"].allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}


def test_the_network_is_refused_before_an_image_is_read(run_main: Any, tmp_path: Path) -> None:
    ended = run_main("data", "review", tmp_path / "none.csv", "--host", "0.0.0.0")
    assert ended.code == 2
    assert "everyone in the network" in ended.err
    assert "--api-keys" in ended.err


def test_a_reviewer_without_a_name_is_asked_for_one(
    run_main: Any, changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", fail)
    ended = run_main("data", "review", changed)
    assert ended.code == 2
    assert "--reviewer NAME" in ended.err


def test_without_cleanlab_the_extra_is_named_before_an_image_is_read(
    run_main: Any, changed: Path, folds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cleanlab", "cleanlab.filter"):
        monkeypatch.setitem(sys.modules, name, None)
    ended = run_main("data", "review", changed, *folds, "--cache-dir", tmp_path / "cache")
    assert ended.code == 2
    assert "threeages[audit]" in ended.err
    assert not (tmp_path / "cache").exists()


def test_predictions_of_a_random_split_are_refused(
    run_main: Any, changed: Path, folds: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"split": {"mode": "random"}}')
    ended = run_main("data", "review", changed, *folds, "--table", tmp_path / "s.csv")
    assert ended.code == 2
    assert "random split" in ended.err


def test_merge_applies_corrections_and_an_evaluation_says_so(
    run_main: Any, changed: Path, folds: list[Path], tmp_path: Path
) -> None:
    manifest = load_manifest(changed)
    _correct(manifest, tmp_path / "c.csv")
    out = tmp_path / "right.csv"
    ended = run_main("data", "merge", changed, "--corrections", tmp_path / "c.csv", "--out", out)
    assert ended.code == 0, ended.err
    assert "1 label corrected by c.csv" in ended.out
    right = load_manifest(out)
    assert right.columns["corrected_from"][FLIPPED] == AGE_GROUPS[manifest.labels[FLIPPED]]
    n = len(right)
    probs = np.full((n, 3), 1 / 3)
    table = PredictionTable(right.paths, right.labels, ("ok",) * n, probs, probs.max(axis=1), right.columns)
    save_predictions(table, tmp_path / "p.csv")
    ended = run_main("evaluate", tmp_path / "p.csv", "--out", tmp_path / "report")
    assert ended.code == 0, ended.err
    assert f"1 label of {n} was corrected by a review" in ended.out.replace("\n", " ")
    assert "was corrected by a review" in (tmp_path / "report" / "report.html").read_text()
    ended = run_main("compare", tmp_path / "p.csv", tmp_path / "report")
    assert "was corrected by a review" in ended.out.replace("\n", " ")


def _correct(manifest: Manifest, out: Path) -> None:
    old, new = (AGE_GROUPS[(manifest.labels[FLIPPED] + i) % 3] for i in (0, 2))
    add_decision(out, decide(manifest.paths[FLIPPED], manifest.files()[FLIPPED], old, new, "ann"))


def test_images_that_cannot_be_read_are_counted_and_none_is_refused(
    run_main: Any, faces_csv: Path, tmp_path: Path
) -> None:
    """Unreadable images look alike: they are no copies of each other, and no suspects."""
    manifest = load_manifest(faces_csv)
    root = tmp_path / "some"
    for path, file in list(zip(manifest.paths, manifest.files(), strict=True))[10:]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(file.read_bytes())
    options = ("--table", tmp_path / "s.csv", "--cache-dir", tmp_path / "cache")
    ended = run_main("data", "review", faces_csv, "--root", root, *options)
    assert ended.code == 0, ended.err
    assert f"10 of 120 images cannot be read, first {manifest.paths[0]} (missing)." in ended.err
    named = {row["path"] for row in read_csv(tmp_path / "s.csv").rows}
    assert not named & set(manifest.paths[:10])
    (tmp_path / "empty").mkdir()
    ended = run_main("data", "review", faces_csv, "--root", tmp_path / "empty", *options)
    assert ended.code == 2
    assert "120 of 120 images cannot be read" in ended.err
    assert "--root" in ended.err
