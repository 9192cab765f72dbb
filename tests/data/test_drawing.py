from pathlib import Path

import numpy as np
import pytest

from threeages.data.drawing import NOWHERE, WHOLE_SHARE, Drawing, create_pool

N, SIZE = 40, 24


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    rng = np.random.default_rng(0)
    for name in ("cuts", "wholes"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8))
    return Drawing(tmp_path / "cuts.npy", tmp_path / "wholes.npy")


def test_every_batch_is_drawn_in_turn_and_the_same_by_any_process(drawing: Drawing) -> None:
    order = [np.arange(10) + start for start in range(0, N, 10)]
    with create_pool() as pool:
        drawn = list(drawing.draw(pool, order, (1, 2)))
    for number, (pixels, moves) in enumerate(drawn):
        alone = drawing.draw_batch(order[number], (1, 2, number))
        assert np.array_equal(pixels, alone[0])
        assert np.array_equal(moves, alone[1], equal_nan=True)
    assert not np.array_equal(drawing.draw_batch(order[0], (1, 3, 0))[0], drawn[0][0])


def test_some_views_show_the_whole_image_and_have_no_move(drawing: Drawing) -> None:
    rows = np.tile(np.arange(N), 25)
    pixels, moves = drawing.draw_batch(rows, (0,))
    assert pixels.shape == (1000, SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert moves.shape == (1000, *NOWHERE.shape)
    assert np.isnan(moves).all(axis=(1, 2)).mean() == pytest.approx(WHOLE_SHARE, abs=0.05)
