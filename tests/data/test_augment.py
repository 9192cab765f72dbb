import numpy as np
import pytest

from threeages.data.augment import PLAIN, WHOLE, cut_view, redraw, spoil
from threeages.demo import find_portraits
from threeages.faces.crop import TEMPLATE, Face, align_crop, whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image, resize
from threeages.faces.yunet import YuNet

SIZE, MARGIN, ALIGNMENT = 64, 0.03, 0.85
DRAWN = 2


@pytest.fixture(scope="module")
def portrait() -> tuple[Pixels, Face]:
    pixels = load_image(find_portraits()[0])
    return pixels, find_faces(pixels, YuNet())[0]


def _view(portrait: tuple[Pixels, Face], view: int, row: int = 0) -> Pixels:
    return cut_view(*portrait, view, row, SIZE, margin=MARGIN, alignment=ALIGNMENT)


def test_the_first_view_is_that_of_use(portrait: tuple[Pixels, Face]) -> None:
    assert (_view(portrait, PLAIN) == align_crop(*portrait, SIZE, margin=MARGIN, alignment=ALIGNMENT)).all()


def test_the_whole_view_is_that_of_use_without_a_detector_but_mirrored_or_spoiled_at_times(
    portrait: tuple[Pixels, Face],
) -> None:
    plain = resize(portrait[0], SIZE)
    views = [_view(portrait, WHOLE, row) for row in range(40)]
    same = [(view == plain).all() for view in views]
    mirrored = [(view[:, ::-1] == plain).all() for view in views]
    assert 2 <= sum(same) < 20
    assert 2 <= sum(mirrored) < 20


def test_a_view_is_the_same_at_every_call_and_another_for_every_row_and_number(
    portrait: tuple[Pixels, Face],
) -> None:
    assert (_view(portrait, DRAWN) == _view(portrait, DRAWN)).all()
    assert (_view(portrait, DRAWN) != _view(portrait, DRAWN, row=1)).any()
    assert (_view(portrait, DRAWN) != _view(portrait, DRAWN + 1)).any()


def test_a_drawn_view_shows_the_same_face(portrait: tuple[Pixels, Face]) -> None:
    plain = _view(portrait, PLAIN).mean(axis=2)
    alike = []
    for row in range(20):
        drawn = _view(portrait, DRAWN, row).mean(axis=2)
        alike.append(max(np.corrcoef(plain.ravel(), side.ravel())[0, 1] for side in (drawn, drawn[:, ::-1])))
    assert min(alike) > 0.2
    assert np.median(alike) > 0.5


def test_some_drawn_views_show_strips_of_other_surroundings_and_all_show_the_face(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("threeages.data.augment.spoil", lambda pixels, _: pixels)
    pixels = np.full((80, 80, 3), 100, dtype=np.uint8)
    face = whole_image(pixels, (TEMPLATE * 80).astype(np.float32))
    views = [
        cut_view(pixels, face, DRAWN, row, SIZE, margin=MARGIN, alignment=ALIGNMENT) for row in range(40)
    ]
    strange = np.stack([(view != 100).any(axis=2) for view in views])
    assert 3 <= strange.any(axis=(1, 2)).sum() <= 20
    assert strange.any(axis=0).mean() > 0.3
    assert not strange[:, SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 2 - 8 : SIZE // 2 + 8].any()


def test_a_face_without_landmarks_is_spoiled_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    view = cut_view(pixels, whole_image(pixels), DRAWN, 0, SIZE, margin=MARGIN, alignment=ALIGNMENT)
    assert view.shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("seed", range(30))
def test_spoiled_pixels_stay_bytes_of_the_same_size(seed: int) -> None:
    pixels = np.full((SIZE, SIZE, 3), 250, dtype=np.uint8)
    found = spoil(pixels, np.random.default_rng(seed))
    assert found.dtype == np.uint8
    assert found.shape == pixels.shape


def test_a_redrawn_cut_says_where_its_points_lie() -> None:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    ramp = np.stack([2 * x + 40, 2 * y + 40, np.full_like(x, 99)], axis=2).astype(np.uint8)
    mirrored = set()
    for seed in range(20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("threeages.data.augment.spoil", lambda pixels, _: pixels)
            view, move = redraw(ramp, np.random.default_rng(seed))
        mirrored.add(bool(move[0, 0] < 0))
        for column, row in ((32, 32), (24, 40), (45, 30)):
            point = (2 * np.array([column, row]) + 1) / SIZE - 1
            found = (move @ [*point, 1] + 1) * SIZE / 2 - 0.5
            assert view[row, column, :2] == pytest.approx(2 * found + 40, abs=2)
    assert mirrored == {True, False}
