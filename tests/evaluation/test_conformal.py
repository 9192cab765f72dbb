import numpy as np
import pytest

from threeages.errors import ConfigError
from threeages.evaluation.conformal import coverage_by_identity, interval_margin, set_threshold
from threeages.inference.sets import prediction_sets, set_names


def draw(rng: np.random.Generator, persons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Persons of 1 to 20 rows, each with a bias of its own towards wrong probabilities."""
    sizes = rng.integers(1, 21, persons)
    person = np.repeat(np.arange(persons), sizes)
    labels = rng.integers(0, 3, len(person))
    logits = (
        1.5 * np.eye(3)[labels] + rng.normal(0, 1, (persons, 3))[person] + rng.normal(0, 1, (len(person), 3))
    )
    exp = np.exp(logits)
    return labels, exp / exp.sum(axis=1, keepdims=True), person


@pytest.mark.parametrize("wanted", [0.7, 0.9])
def test_new_persons_are_covered_as_promised(wanted: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(30):
        labels, probs, person = draw(rng, 60)
        threshold = set_threshold(labels, probs, person, wanted)
        labels, probs, person = draw(rng, 200)
        covered.append(coverage_by_identity(labels, prediction_sets(probs, threshold), person).mean())
    assert wanted - 0.01 <= np.mean(covered) <= wanted + 0.04


def test_too_few_persons_give_the_full_set() -> None:
    labels, probs, person = draw(np.random.default_rng(0), 8)
    threshold = set_threshold(labels, probs, person, 0.9)
    assert threshold == 0
    assert prediction_sets(probs, threshold).all()


def test_sets_are_never_empty_and_have_no_gap() -> None:
    inside = prediction_sets([[0.4, 0.3, 0.3], [0.48, 0.04, 0.48], [0.1, 0.2, 0.7]], 0.45)
    assert inside.tolist() == [[True, False, False], [True, True, True], [False, False, True]]
    assert set_names([0.5, 0.45, 0.05], 0.4) == ["YOUNG", "MIDDLE"]


def test_persons_weigh_the_same() -> None:
    sure, unsure = [0.8, 0.1, 0.1], [0.3, 0.4, 0.3]
    probs = np.asarray([sure] * 9 + [unsure] * 991)
    person = np.asarray([*range(9), *[9] * 991])
    labels = np.zeros(1000, dtype=int)
    assert set_threshold(labels, probs, person, 0.8) == 0.8
    assert set_threshold(labels, probs, None, 0.8) == 0.3


def test_margin_widens_narrow_intervals_and_narrows_wide_ones() -> None:
    rng = np.random.default_rng(0)
    ages = rng.normal(40, 10, 4000)
    for half, expected in ((5.0, 11.45), (30.0, -13.55)):
        margin = interval_margin(ages, np.full(4000, 40 - half), np.full(4000, 40 + half), None, 0.9)
        assert margin == pytest.approx(expected, abs=0.6)
    assert interval_margin([40.0], [30.0], [50.0], None, 0.9) == float("inf")


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_coverages_are_refused(coverage: float) -> None:
    with pytest.raises(ConfigError, match="coverage"):
        set_threshold([0], [[1, 0, 0]], None, coverage)
