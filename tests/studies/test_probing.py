import sys

import numpy as np
import pytest

pytest.importorskip("concept_erasure", reason="concept-erasure is not installed (extra 'explain')")

from threeages.errors import MissingDependencyError
from threeages.studies.probing import (
    fit_erasure,
    probe_age_groups,
    probe_identities,
    standardize,
)

NUM_IDENTITIES, EACH, SIDE = 12, 30, 24


def _draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in which a few columns say who it is and others say how old, with identities of one age."""
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(NUM_IDENTITIES), EACH)
    labels = identities % 3
    features = rng.normal(size=(len(identities), SIDE)).astype(np.float32)
    features[:, :8] += 4 * rng.normal(size=(NUM_IDENTITIES, 8))[identities]
    features[:, 8] += 4 * labels
    return features, identities, labels


def _score(features: np.ndarray, identities: np.ndarray) -> float:
    held = np.arange(0, len(features), 3)
    fit = np.setdiff1d(np.arange(len(features)), held)
    return float((probe_identities(features, identities, fit, held) == identities[held]).mean())


def test_the_identity_is_found_and_then_erased() -> None:
    features, identities, labels = _draw()
    assert _score(features, identities) > 0.9
    erasure = fit_erasure(features, identities, labels, "identity")
    erased = erasure.apply(features)
    assert _score(erased, identities) < 0.3
    assert erasure.dimensions == NUM_IDENTITIES - 1
    means = np.stack([erased[identities == i].mean(axis=0) for i in range(NUM_IDENTITIES)])
    np.testing.assert_allclose(means - means[0], 0, atol=1e-3)


def test_what_tells_age_groups_apart_is_kept_where_that_is_asked_for() -> None:
    features, identities, labels = _draw()
    rows = np.arange(len(features))
    scores = {}
    for erased in ("nothing", "identity", "identity within age group"):
        values = fit_erasure(features, identities, labels, erased).apply(features)
        scores[erased] = (probe_age_groups(values, labels, rows, rows).argmax(axis=1) == labels).mean()
    assert scores["nothing"] > 0.9
    assert scores["identity within age group"] > 0.9
    assert scores["identity"] < 0.6
    control = fit_erasure(features, identities, labels, "random directions")
    assert control.dimensions == NUM_IDENTITIES - 1
    assert _score(control.apply(features), identities) > 0.8
    kept = fit_erasure(features, identities, labels, "identity within age group")
    assert _score(kept.apply(features), identities) < 3.5 / NUM_IDENTITIES  # one of those of its age group
    assert kept.dimensions == NUM_IDENTITIES - 3


def test_probabilities_of_an_age_group_that_was_not_seen_are_0() -> None:
    features, _, labels = _draw()
    seen = np.flatnonzero(labels != 1)
    probs = probe_age_groups(features, labels, seen, np.arange(5))
    assert probs.shape == (5, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs[:, 1] == 0).all()


def test_a_constant_column_becomes_zero() -> None:
    values = np.array([[1, 5], [3, 5]], dtype=np.float32)
    np.testing.assert_allclose(standardize(values, np.arange(2)), [[-1, 0], [1, 0]])


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "concept_erasure", None)
    features, identities, labels = _draw()
    with pytest.raises(MissingDependencyError, match="concept-erasure") as caught:
        fit_erasure(features, identities, labels, "identity")
    assert "threeages[explain]" in caught.value.hint
