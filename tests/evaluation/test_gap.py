import math

import pytest

from threeages.evaluation.gap import compute_gap


def test_the_interval_of_a_gap_is_made_of_both_intervals() -> None:
    gap = compute_gap((0.9, 0.86, 0.93), (0.6, 0.57, 0.64))
    assert (gap.random, gap.disjoint) == (0.9, 0.6)
    assert gap.difference == pytest.approx(0.3)
    assert gap.low == pytest.approx(0.3 - math.hypot(0.04, 0.04))
    assert gap.high == pytest.approx(0.3 + math.hypot(0.03, 0.03))


def test_without_an_interval_there_is_a_gap_alone() -> None:
    gap = compute_gap((0.9, math.nan, math.nan), (0.6, 0.57, 0.64))
    assert gap.difference == pytest.approx(0.3)
    assert math.isnan(gap.low)
    assert math.isnan(gap.high)
