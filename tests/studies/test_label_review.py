from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest
from threeages.files.csvfiles import read_csv
from threeages.studies.label_review import (
    NEIGHBOUR,
    UNIFORM,
    Frozen,
    count_found,
    fit_folds,
    measure_review,
    plant_errors,
    save_review,
)

N = 600


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    """Features that tell the groups apart, four rows an identity."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=N)
    features = (rng.normal(size=(N, 8)) + 3 * np.eye(3, 8)[labels]).astype(np.float32)
    identities = tuple(str(i // 4) for i in range(N))
    manifest = Manifest(Path(), tuple(f"{i}.jpg" for i in range(N)), labels, {"identity": identities})
    return Frozen(manifest, features, tuple(np.arange(N).reshape(-1, 4)[i::5].ravel() for i in range(5)))


@pytest.mark.parametrize("kind", [UNIFORM, NEIGHBOUR])
def test_the_share_of_errors_is_planted(kind: str) -> None:
    labels = np.arange(N) % 3
    changed = plant_errors(labels, kind, 0.05, 0)
    distance = np.abs(changed - labels)[changed != labels]
    assert len(distance) == 30
    assert set(changed.tolist()) == {0, 1, 2}
    assert (distance == 2).any() == (kind == UNIFORM)
    assert np.array_equal(changed, plant_errors(labels, kind, 0.05, 0))


def test_found_errors_are_counted_among_the_first() -> None:
    planted = np.zeros(1000, dtype=np.bool_)
    planted[:60] = True
    ranked = np.concatenate([np.arange(50), np.arange(500, 600), np.arange(50, 55)])
    first, every = count_found(ranked, planted)
    assert (first["looked_at"], first["found"], first["precision"]) == ("100", "50", "0.5000")
    assert (every["looked_at"], every["found"], every["recall"]) == ("155", "55", "0.9167")


def test_no_row_is_answered_by_a_head_that_saw_its_label(frozen: Frozen) -> None:
    labels = frozen.manifest.labels.copy()
    probs = fit_folds(frozen, labels, 1.0)
    labels[frozen.folds[0]] = (labels[frozen.folds[0]] + 1) % 3
    assert np.array_equal(fit_folds(frozen, labels, 1.0)[frozen.folds[0]], probs[frozen.folds[0]])


def test_a_review_finds_planted_errors_and_makes_training_better(frozen: Frozen, tmp_path: Path) -> None:
    rows = list(measure_review(frozen, UNIFORM))
    save_review(tmp_path / "r.csv", "faces", "default", rows)
    save_review(tmp_path / "r.csv", "faces", "default", rows)
    written = read_csv(tmp_path / "r.csv").rows
    assert [row["step"] for row in written] == [row["step"] for row in rows]
    assert all(row["kind"] == UNIFORM for row in written)
    found = next(row for row in rows if row["step"] == "all suspects")
    assert float(found["precision"]) > 0.8
    nll = {row["step"]: float(row["nll"]) for row in rows if "nll" in row}
    changed, reviewed, published = nll.values()
    assert max(reviewed, published) < changed
