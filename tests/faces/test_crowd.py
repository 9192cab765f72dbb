import cv2
import numpy as np
import pytest

from threeages.demo import find_portraits
from threeages.faces.crop import Box, Face, iou, turn_face, turn_image
from threeages.faces.crowd import find_in_tiles, small_face_side, tile_boxes
from threeages.faces.detect import MIN_SCORE, find_faces, search_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YuNet
from threeages.inference.prepare import FacePreparer
from threeages.signature import Signature

SIGNATURE = Signature(name="test", input_size=24)


class Marks:
    """A detector that finds the white rectangles of the image it is given."""

    def __init__(self) -> None:
        self.sides: list[int] = []

    def detect(self, pixels: Pixels, min_score: float = MIN_SCORE) -> list[Face]:
        self.sides.append(max(pixels.shape[:2]))
        _, _, found, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(pixels[:, :, 0]))
        return [Face((float(x), float(y), float(x + w), float(y + h)), 0.9) for x, y, w, h, _ in found[1:]]


def _draw_marks(width: int, height: int, side: int, step: int) -> tuple[Pixels, list[Box]]:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    places = [(x, y) for y in range(5, height - side, step) for x in range(5, width - side, step)]
    for x, y in places:
        pixels[y : y + side, x : x + side] = 255
    return pixels, [(x, y, x + side, y + side) for x, y in places]


def _draw_crowd(columns: int, rows: int, cell: int, portrait_width: int) -> tuple[Pixels, int]:
    scene = np.full((rows * cell, columns * cell, 3), 120, dtype=np.uint8)
    portraits = find_portraits()
    for i in range(columns * rows):
        portrait = load_image(portraits[i % len(portraits)])
        height = portrait_width * portrait.shape[0] // portrait.shape[1]
        small = cv2.resize(portrait, (portrait_width, height), interpolation=cv2.INTER_AREA)[:cell]
        y, x = i // columns * cell, i % columns * cell
        scene[y : y + small.shape[0], x : x + portrait_width] = small
    return scene, columns * rows


def _small(n: int, side: float, score: float = 0.9) -> list[Face]:
    return [Face((i * 50.0, 0, i * 50.0 + side, side), score) for i in range(n)]


def test_a_crowd_has_several_small_faces_doubtful_ones_included() -> None:
    assert small_face_side(_small(4, 20, 0.4), 1280) == 20
    assert small_face_side(_small(3, 20), 1280) == 0
    assert small_face_side(_small(9, 50), 1280) == 0
    assert small_face_side([], 1280) == 0


@pytest.mark.parametrize(("width", "height", "side"), [(6000, 4000, 100), (1500, 900, 14), (640, 480, 300)])
def test_tiles_cover_the_photo_and_overlap(width: int, height: int, side: float) -> None:
    tiles = list(tile_boxes(width, height, side))
    assert 1 <= len(tiles) <= 24
    covered = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in tiles:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all()
    for x in range(0, width - int(side), 7):  # every face is whole in a tile
        assert any(left <= x and x + side <= right for left, _, right, _ in tiles)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_face_in_two_tiles_or_cut_by_one_counts_once(turns: int) -> None:
    pixels, boxes = _draw_marks(2000, 1400, 40, 90)
    turned = turn_image(pixels, turns)
    known = [turn_face(Face(box, 0.9), turns, 2000, 1400) for box in boxes[:5]]
    faces = find_in_tiles(turned, Marks(), known, 40)
    height, width = turned.shape[:2]
    found = [turn_face(face, -turns, width, height).box for face in faces]
    assert sorted(found) == sorted(boxes)
    assert {face.turns for face in faces} == {-turns % 4}


def test_a_large_face_of_the_normal_look_stays() -> None:
    large = Face((0, 0, 900, 900), 0.8)
    pixels, _ = _draw_marks(2000, 1400, 40, 90)
    faces = find_in_tiles(pixels, Marks(), [large, *_small(4, 40)], 40)
    assert faces[0] == large
    assert all(iou(face.box, large.box) == 0 for face in faces[1:])


@pytest.mark.slow
def test_tiles_find_the_small_faces_that_one_look_misses() -> None:
    scene, n = _draw_crowd(24, 16, 100, 76)
    detector = YuNet()
    once, candidates = search_faces(scene, detector)
    side = small_face_side([*once, *candidates], max(scene.shape))
    assert side
    tiled = find_in_tiles(scene, detector, once, side)
    assert len(once) < 0.8 * n < 0.95 * n <= len(tiled) <= n
    assert [face.area for face in tiled] == sorted((face.area for face in tiled), reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photo_of_a_crowd_gives_boxes_in_its_own_pixels(suffix: str) -> None:
    scene, n = _draw_crowd(24, 16, 160, 120)  # 3840x2560: a JPEG is decoded at half its size first
    data = cv2.imencode(suffix, scene[:, :, ::-1])[1].tobytes()
    faces = FacePreparer(SIGNATURE, YuNet()).prepare("crowd", data).faces
    assert 0.95 * n <= len(faces) <= n
    cells = {(int((f.box[0] + f.box[2]) / 2 // 160), int((f.box[1] + f.box[3]) / 2 // 160)) for f in faces}
    assert len(cells) == len(faces)


def test_a_photo_of_one_face_is_not_looked_at_again() -> None:
    pixels, _ = _draw_marks(2000, 1400, 300, 5000)
    detector = Marks()
    (face,) = FacePreparer(SIGNATURE, detector).prepare("a", pixels).faces
    assert (face.box, detector.sides) == ((5, 5, 305, 305), [2000])
    assert len(find_faces(pixels, detector)) == 1
