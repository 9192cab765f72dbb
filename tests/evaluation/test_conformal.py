import numpy as np
import pytest

from threeages.errors import ConfigError
from threeages.evaluation.conformal import (
    compute_interval_margin,
    find_set_threshold,
    measure_coverage_by_identity,
)
from threeages.inference.sets import prediction_sets, set_names


def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Identities of 1 to 20 rows, each with a bias of its own towards wrong probabilities."""
    sizes = rng.integers(1, 21, count)
    identity = np.repeat(np.arange(count), sizes)
    labels = rng.integers(0, 3, len(identity))
    logits = (
        1.5 * np.eye(3)[labels]
        + rng.normal(0, 1, (count, 3))[identity]
        + rng.normal(0, 1, (len(identity), 3))
    )
    exp = np.exp(logits)
    return labels, exp / exp.sum(axis=1, keepdims=True), identity


@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_new_identities_are_covered_as_guaranteed(coverage: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(30):
        labels, probs, identity = sample(rng, 60)
        threshold = find_set_threshold(labels, probs, identity, coverage)
        labels, probs, identity = sample(rng, 200)
        covered.append(
            measure_coverage_by_identity(labels, prediction_sets(probs, threshold), identity).mean()
        )
    assert coverage - 0.01 <= np.mean(covered) <= coverage + 0.04


def test_too_few_identities_give_the_full_set() -> None:
    labels, probs, identity = sample(np.random.default_rng(0), 8)
    threshold = find_set_threshold(labels, probs, identity, 0.9)
    assert threshold == 0
    assert prediction_sets(probs, threshold).all()


def test_sets_are_never_empty_and_have_no_gap() -> None:
    inside = prediction_sets([[0.4, 0.3, 0.3], [0.48, 0.04, 0.48], [0.1, 0.2, 0.7]], 0.45)
    assert inside.tolist() == [[True, False, False], [True, True, True], [False, False, True]]
    assert set_names([0.5, 0.45, 0.05], 0.4) == ["YOUNG", "MIDDLE"]


def test_identities_weigh_the_same() -> None:
    sure, unsure = [0.8, 0.1, 0.1], [0.3, 0.4, 0.3]
    probs = np.asarray([sure] * 9 + [unsure] * 991)
    identity = np.asarray([*range(9), *[9] * 991])
    labels = np.zeros(1000, dtype=int)
    assert find_set_threshold(labels, probs, identity, 0.8) == 0.8
    assert find_set_threshold(labels, probs, None, 0.8) == 0.3


def test_margin_widens_narrow_intervals_and_narrows_wide_ones() -> None:
    rng = np.random.default_rng(0)
    ages = rng.normal(40, 10, 4000)
    for half, expected in ((5.0, 11.45), (30.0, -13.55)):
        margin = compute_interval_margin(ages, np.full(4000, 40 - half), np.full(4000, 40 + half), None, 0.9)
        assert margin == pytest.approx(expected, abs=0.6)
    assert compute_interval_margin([40.0], [30.0], [50.0], None, 0.9) == float("inf")


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_coverages_are_refused(coverage: float) -> None:
    with pytest.raises(ConfigError, match="coverage"):
        find_set_threshold([0], [[1, 0, 0]], None, coverage)
