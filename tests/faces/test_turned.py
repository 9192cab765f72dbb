from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from threeages.demo import find_portraits
from threeages.faces.crop import Face, align_crop, turn_face, turn_image, whole_image
from threeages.faces.detect import MIN_SCORE, find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.quality import find_rejection_reason
from threeages.faces.turned import choose_turns, is_plausible, settles, tile_scores, tile_turns
from threeages.faces.yunet import YuNet

PORTRAITS = find_portraits()
UPRIGHT = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], dtype=np.float32)
BOX = (0.0, 0.0, 80.0, 110.0)


class Fixed:
    """A detector that finds one implausible face in the image and, in tiles, a given score in each turn."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        height, width = pixels.shape[:2]
        if height == width and height < 300:  # four tiles
            side = (height - 16) // 2
            places = [(x, y) for y in (0, side + 16) for x in (0, side + 16)]
            return [
                Face((x + 10, y + 10, x + side - 10, y + side - 10), score)
                for (x, y), score in zip(places, self.scores, strict=True)
            ]
        return [Face((100, 100, 200, 200), 0.75, UPRIGHT + 100)] if width == 400 else []


@pytest.mark.parametrize("turns", [0, 1, 2, 3, -1])
def test_a_face_turns_with_its_image_and_back(turns: int) -> None:
    pixels = np.zeros((80, 100, 3), dtype=np.uint8)
    pixels[20:50, 10:25] = 255
    face = Face((10, 20, 25, 50), 0.9, np.array([[10, 20], [25, 50]], dtype=np.float32))
    turned, moved = turn_image(pixels, turns), turn_face(face, turns, 100, 80)
    x1, y1, x2, y2 = (int(value) for value in moved.box)
    assert (turned[y1:y2, x1:x2] == 255).all()
    assert turned.sum() == turned[y1:y2, x1:x2].sum()
    assert moved.turns == -turns % 4
    back = turn_face(moved, -turns, turned.shape[1], turned.shape[0])
    assert back == face
    assert back.landmarks is not None
    np.testing.assert_array_equal(back.landmarks, face.landmarks)


@pytest.mark.parametrize("alignment", [0.0, 0.85])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_crop_of_a_turned_face_is_the_upright_one(turns: int, alignment: float) -> None:
    pixels = load_image(PORTRAITS[0])
    face = find_faces(pixels, YuNet())[0]
    height, width = pixels.shape[:2]
    turned = turn_face(face, turns, width, height)
    found = align_crop(turn_image(pixels, turns), turned, 64, margin=0.03, alignment=alignment)
    assert (found == align_crop(pixels, face, 64, margin=0.03, alignment=alignment)).all()


@pytest.mark.parametrize(
    ("score", "landmarks", "plausible"),
    [
        (0.93, UPRIGHT, True),
        (0.93, None, True),
        (0.75, None, True),
        (0.75, UPRIGHT, False),
        (0.99, UPRIGHT[::-1], False),
        (0.99, UPRIGHT + np.float32([60, 0]), False),
    ],
)
def test_a_low_score_eyes_below_the_mouth_and_points_outside_are_implausible(
    score: float, landmarks: np.ndarray | None, *, plausible: bool
) -> None:
    assert is_plausible(Face(BOX, score, landmarks)) == plausible


@pytest.mark.parametrize(
    ("small", "large", "turns"),
    [
        ([0.2, 0.1, 0.8, 0.0], [0.3, 0.0, 0.9, 0.0], 2),
        ([0.5, 0.55, 0.1, 0.2], [0.83, 0.87, 0.1, 0.2], 0),  # a face that lies between two turns
        ([0.5, 0.3, 0.1, 0.2], [0.8, 0.4, 0.1, 0.2], 0),
        ([0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.6, 0.0], None),
        ([0.0] * 4, [0.0] * 4, 0),
    ],
)
def test_a_turn_is_chosen_where_it_is_clearly_better(
    small: list[float], large: list[float], turns: int | None
) -> None:
    assert choose_turns(small, large) == turns


def test_small_tiles_settle_a_clear_lead_only() -> None:
    assert settles([0.7, 0.2, 0.1, 0.1])
    assert settles([0.2, 0.1, 0.9, 0.1])
    assert not settles([0.7, 0.6, 0.1, 0.1])
    assert not settles([0.2, 0.1, 0.7, 0.1])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_tiles_score_the_turn_that_is_upright(turns: int) -> None:
    pixels = turn_image(load_image(PORTRAITS[0]), turns)
    detector = YuNet()
    scores = tile_scores(detector.detect(tile_turns(pixels, whole_image(pixels), 112), 0.1), 112)
    assert int(np.argmax(scores)) == -turns % 4


@pytest.mark.parametrize("path", PORTRAITS[:3], ids=lambda path: path.stem)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_portrait_gives_the_upright_faces_in_its_own_pixels(path: Path, turns: int) -> None:
    pixels, detector = load_image(path), YuNet()
    height, width = pixels.shape[:2]
    upright = find_faces(pixels, detector)
    found = find_faces(turn_image(pixels, turns), detector)
    assert found == [turn_face(face, turns, width, height) for face in upright]


@pytest.mark.parametrize("turns", [2, 3])
def test_a_photo_of_an_upright_and_a_turned_face_keeps_the_one_and_turns_the_other(turns: int) -> None:
    upright, other = (
        np.asarray(cv2.resize(load_image(path), (160, 200), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for path in PORTRAITS[1::-1]
    )
    other = turn_image(other, turns)
    scene = np.full((300, 560, 3), 120, dtype=np.uint8)
    scene[50:250, 30:190] = upright
    scene[50 : 50 + other.shape[0], 320 : 320 + other.shape[1]] = other
    faces = sorted(find_faces(scene, YuNet()), key=lambda face: face.box[0])
    assert [face.turns for face in faces] == [0, -turns % 4]


def test_a_face_that_no_turn_makes_upright_gets_no_answer() -> None:
    pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    (lost,) = find_faces(pixels, Fixed(0.0, 0.0, 0.6, 0.0))
    assert lost.turns is None
    assert find_rejection_reason(lost, np.zeros((100, 100, 3), dtype=np.uint8)) == "turned"
    (kept,) = find_faces(pixels, Fixed(0.6, 0.0, 0.6, 0.0))
    assert kept.turns == 0


def test_a_turn_that_shows_no_face_at_the_full_size_gets_no_answer() -> None:
    (lost,) = find_faces(np.zeros((300, 400, 3), dtype=np.uint8), Fixed(0.1, 0.9, 0.1, 0.1))
    assert lost.turns is None


@pytest.mark.parametrize("name", ["coffee.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png"])
def test_photos_without_a_face_show_none_in_any_turn(name: str) -> None:
    pixels = load_image(Path(skimage.data.__file__).parent / name)
    assert find_faces(pixels, YuNet()) == []
