import numpy as np

from threeages.data.mixup import SHARES, draw_mixture

AMONG = np.array([3, 5, 8, 9])


def test_as_many_are_mixed_as_asked_and_only_with_faces_learnt_from() -> None:
    mixture = draw_mixture(np.arange(1000), AMONG, 0.4, np.random.default_rng(0))
    assert len(mixture.mixed) == 400
    shares = mixture.shares[mixture.mixed]
    assert SHARES[0] <= shares.min() < shares.max() <= SHARES[1]
    assert set(mixture.others) == set(AMONG)
    assert len(draw_mixture(np.arange(9), AMONG, 0.0, np.random.default_rng(0)).mixed) == 0


def test_two_faces_lie_over_each_other_in_their_shares() -> None:
    pixels = np.stack([np.full((2, 2, 3), value, dtype=np.uint8) for value in range(0, 100, 10)])
    mixture = draw_mixture(np.array([0, 1, 2]), AMONG, 1.0, np.random.default_rng(0))
    expected = 10 * (mixture.rows * mixture.shares + mixture.others * (1 - mixture.shares))
    blended = mixture.blend(pixels, np.arange(3))
    assert blended.dtype == np.uint8
    assert np.abs(blended - expected[:, None, None, None]).max() < 1.5


def test_faces_may_be_numbered_otherwise() -> None:
    mixture = draw_mixture(np.array([0, 1]), np.array([1]), 1.0, np.random.default_rng(0))
    renumbered = mixture.numbered(np.array([7, 4]))
    assert renumbered.rows.tolist() == [7, 4]
    assert renumbered.others.tolist() == [4, 4]
    assert renumbered.shares is mixture.shares
