import numpy as np
import pytest

from threeages.evaluation.rates import measure_rate


def test_rows_of_their_own_give_wilsons_interval() -> None:
    hits = np.arange(400) < 40
    rate = measure_rate(hits, np.arange(400))
    assert (rate.n, rate.units, rate.rate) == (400, 400, 0.1)
    assert (rate.low, rate.high) == pytest.approx((0.0743, 0.1334), abs=5e-4)  # Wilson, 40 of 400


def test_rows_of_few_identities_say_less() -> None:
    hits = np.arange(400) < 40
    alone, shared = measure_rate(hits, np.arange(400)), measure_rate(hits, np.arange(400) // 20)
    assert shared.units == 20
    assert shared.high - shared.low > 3 * (alone.high - alone.low)


def test_no_hit_is_no_certainty() -> None:
    nothing = measure_rate(np.zeros(40, dtype=bool), np.arange(40))
    assert (nothing.rate, nothing.low) == (0, 0)
    assert 0.05 < nothing.high < 0.1
    all_hits = measure_rate(np.ones(400, dtype=bool), np.arange(400) // 10)
    assert (all_hits.rate, all_hits.high) == (1, 1)
    assert all_hits.low == pytest.approx(1 - nothing.high)  # 40 identities, however many rows


def test_several_comparisons_widen() -> None:
    hits = np.arange(100) < 30
    one, many = (measure_rate(hits, np.arange(100), comparisons=k) for k in (1, 20))
    assert many.low < one.low < one.high < many.high


def test_no_row_and_one_identity_have_no_interval() -> None:
    none = measure_rate(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
    assert none.n == 0
    assert np.isnan([none.rate, none.low, none.high]).all()
    one = measure_rate(np.array([True, False]), np.zeros(2, dtype=np.int64))
    assert (one.rate, np.isnan(one.low)) == (0.5, True)


def test_the_interval_covers() -> None:
    """About 95 of 100 hold the share that the faces of identities were drawn by."""
    rng = np.random.default_rng(0)
    held = 0
    units = np.repeat(np.arange(60), 5)
    for _ in range(300):
        shares = rng.beta(1, 9, 60)
        rate = measure_rate(rng.random(300) < shares[units], units)
        held += rate.low <= 0.1 <= rate.high
    assert 0.92 <= held / 300 <= 0.99
