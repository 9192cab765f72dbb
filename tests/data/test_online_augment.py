from pathlib import Path

import numpy as np
import pytest

from threeages.data.mixup import Mixture, draw_mixture
from threeages.data.online_views import NOWHERE, WHOLE_SHARE, Drawing, create_pool

N, SIZE = 40, 24


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    rng = np.random.default_rng(0)
    for name in ("cuts", "wholes"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8))
    return Drawing(tmp_path / "cuts.npy", tmp_path / "wholes.npy")


def test_every_batch_is_drawn_in_turn_and_the_same_by_any_process(drawing: Drawing) -> None:
    rng = np.random.default_rng(0)
    order = [draw_mixture(np.arange(10) + start, np.arange(N), 0.3, rng) for start in range(0, N, 10)]
    with create_pool() as pool:
        drawn = list(drawing.draw(pool, order, (1, 2)))
    for number, (pixels, moves) in enumerate(drawn):
        alone = drawing.draw_batch(order[number], (1, 2, number))
        assert np.array_equal(pixels, alone[0])
        assert np.array_equal(moves, alone[1], equal_nan=True)
    assert not np.array_equal(drawing.draw_batch(order[0], (1, 3, 0))[0], drawn[0][0])


def test_some_views_show_the_whole_image_and_have_no_move(drawing: Drawing) -> None:
    rows = np.tile(np.arange(N), 25)
    pixels, moves = drawing.draw_batch(draw_mixture(rows, rows, 0, np.random.default_rng(0)), (0,))
    assert pixels.shape == (1000, SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert moves.shape == (1000, *NOWHERE.shape)
    assert np.isnan(moves).all(axis=(1, 2)).mean() == pytest.approx(WHOLE_SHARE, abs=0.05)


def test_two_faces_in_one_are_drawn_from_their_cuts(drawing: Drawing) -> None:
    np.save(
        drawing.cuts,
        np.repeat([[[[0] * 3]], [[[250] * 3]]], SIZE, axis=1).repeat(SIZE, axis=2).astype(np.uint8),
    )
    rows = np.zeros(400, dtype=np.int64)
    shares = np.where(rows + np.arange(400) < 200, 1, 0.5).astype(np.float32)
    pixels, moves = drawing.draw_batch(Mixture(rows, rows + 1, shares), (0,))
    shown = pixels.mean(axis=(1, 2, 3))
    cuts = ~np.isnan(moves).any(axis=(1, 2))
    assert cuts[200:].all()  # two faces have no image in common
    assert np.median(shown[:200][cuts[:200]]) < 30
    assert np.median(shown[200:]) == pytest.approx(125, abs=20)
