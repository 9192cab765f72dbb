import math

import pytest

from threeages.evaluation.split_gap import compute_split_gap


def test_the_interval_of_a_gap_is_made_of_both_intervals() -> None:
    gap = compute_split_gap((0.9, 0.86, 0.93), (0.6, 0.57, 0.64))
    assert (gap.random, gap.disjoint) == (0.9, 0.6)
    assert gap.difference == pytest.approx(0.3)
    assert gap.low == pytest.approx(0.3 - math.hypot(0.04, 0.04))
    assert gap.high == pytest.approx(0.3 + math.hypot(0.03, 0.03))


def test_without_an_interval_there_is_a_gap_alone() -> None:
    gap = compute_split_gap((0.9, math.nan, math.nan), (0.6, 0.57, 0.64))
    assert gap.difference == pytest.approx(0.3)
    assert math.isnan(gap.low)
    assert math.isnan(gap.high)


def test_a_gap_is_called_one_only_where_its_interval_leaves_no_doubt() -> None:
    sure = compute_split_gap((0.9, 0.86, 0.93), (0.6, 0.57, 0.64)).describe()
    assert sure.endswith("the gap of 0.300 [0.243, 0.342] is what recognising people is worth.")
    for other in ((0.6, 0.5, 0.7), (0.62, 0.5, 0.7), (0.3, math.nan, math.nan)):
        assert compute_split_gap((0.6, 0.55, 0.65), other).describe().endswith("may be chance.")
