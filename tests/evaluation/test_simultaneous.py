import numpy as np
import pytest

from threeages.evaluation.gap import score_answers
from threeages.evaluation.metrics import resample_means
from threeages.evaluation.simultaneous import bound_difference, bound_means, find_largest

TRIALS, ANSWERS, IDENTITIES, EACH = 200, 6, 25, 3
RESAMPLES = 300


def _draw(seed: int, worth: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What answers lose `(rows, k)` where they are apart, and identities; nothing but by chance for 0."""
    rng = np.random.default_rng(seed)
    right = rng.random((2, IDENTITIES * EACH, ANSWERS)) < np.asarray([0.5 + worth, 0.5])[:, None, None]
    lost = right[0].astype(float) - right[1]
    return lost, np.repeat(np.arange(IDENTITIES), EACH).astype(str)


def test_a_set_without_leakage_warns_as_seldom_as_is_said() -> None:
    """Of several answers one alone warns far too often where their intervals are not corrected."""
    warned = alone = 0
    for seed in range(TRIALS):
        lost, who = _draw(seed)
        warned += any(found.low > 0 for found in bound_means(lost, who, n=RESAMPLES))
        alone += (np.percentile(resample_means(lost, who, n=RESAMPLES).means, 2.5, axis=0) > 0).any()
    assert 0.005 <= warned / TRIALS <= 0.05  # one side of an interval of 95 %, and what 200 trials add
    assert alone / TRIALS > 0.1


def test_a_gap_that_is_there_is_found() -> None:
    found = [bound_means(*_draw(seed, 0.5), n=RESAMPLES) for seed in range(20)]
    assert all(one.low > 0 for bounds in found for one in bounds)


def test_more_comparisons_widen_every_interval() -> None:
    lost, who = _draw(1)
    alone, several = bound_means(lost[:, :1], who)[0], bound_means(lost, who)[0]
    assert several.low < alone.low < alone.high < several.high
    assert several.p_value >= alone.p_value


def test_few_identities_and_means_without_doubt_have_no_interval() -> None:
    lost, who = _draw(1)
    few = np.asarray(["a", "b", "c"])[np.arange(len(who)) % 3]
    assert np.isnan([one.low for one in bound_means(lost, few)]).all()
    lost[:, 0] = 0
    assert np.isnan(bound_means(lost, who)[0].low)
    assert bound_means(lost, who)[1] == bound_means(lost[:, 1:], who)[0]
    assert find_largest(np.ones((5, 1)), np.zeros(1)).tolist() == [0] * 5


def test_an_interval_stays_within_what_a_difference_can_be() -> None:
    found = bound_difference(0.9, 0.2, np.linspace(0, 4, 100), 30)
    assert found.high == 1.0
    assert found.p_value < 0.05


def test_the_answers_of_an_audit_are_corrected_together() -> None:
    rng = np.random.default_rng(0)
    labels, who = np.arange(90) % 3, np.repeat(np.arange(30), 3).astype(str)
    given, apart = ({str(i): np.eye(3)[rng.integers(3, size=90)] for i in range(ANSWERS)} for _ in range(2))
    together = score_answers(labels, given, apart, who, 200)
    (alone,) = score_answers(labels, {"0": given["0"]}, {"0": apart["0"]}, who, 200)
    assert together[0].gap == pytest.approx(alone.gap)
    assert together[0].gap_interval is not None
    assert alone.gap_interval is not None
    assert together[0].gap_interval[0] < alone.gap_interval[0]
    assert together[0].interval == alone.interval
