import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from threeages.demo import find_portraits
from threeages.faces.crop import (
    TEMPLATE,
    TEMPLATE_LIFT,
    Box,
    Face,
    Landmarks,
    align_crop,
    crop_box,
    whole_image,
)
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.yunet import YuNet

PORTRAITS = find_portraits()


class Seen:
    """A detector that answers from a list: the plain look, then the padded one; later looks find nothing."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = list(answers)
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, pixels: Pixels, min_score: float = 0.7) -> list[Face]:
        self.shapes.append(pixels.shape)
        return self.answers.pop(0) if self.answers else []


def _image(width: int = 100, height: int = 80) -> Pixels:
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_faces_found_are_answered_as_they_are() -> None:
    faces = [Face((10, 10, 40, 50), 0.9), Face((60, 10, 80, 30), 0.8)]
    assert find_faces(_image(), Seen(faces)) == faces


def test_a_lone_face_that_fills_the_image_is_a_crop() -> None:
    assert find_faces(_image(), Seen([Face((5, 5, 95, 75), 0.9)])) == [whole_image(_image())]
    loose = Face((30, 20, 70, 70), 0.9)
    assert find_faces(_image(), Seen([loose])) == [loose]


@pytest.mark.parametrize(("box", "found"), [((80, 80, 240, 240), 1), ((0, 0, 70, 70), 0)])
def test_the_padded_look_counts_only_what_lies_in_the_image(box: Box, found: int) -> None:
    detector = Seen([], [Face(box, 0.5)])
    assert len(find_faces(_image(100, 100), detector)) == found
    assert detector.shapes[1] == (320, 320, 3)


def test_nothing_found_is_no_face() -> None:
    assert find_faces(_image(), Seen([], [])) == []


def test_whole_is_the_full_image() -> None:
    assert whole_image(_image(30, 20)).box == (0, 0, 30, 20)
    assert whole_image(_image(30, 20)).area == 600


@pytest.mark.parametrize(
    ("box", "margin", "shape"),
    [
        ((20, 10, 60, 50), 0.0, (40, 40)),
        ((20, 10, 60, 50), 0.25, (60, 60)),  # 10 pixels more on each side
        ((0, 0, 100, 80), 0.5, (80, 100)),  # clipped to the image
        ((98, 78, 140, 120), 0.0, (2, 2)),
        ((150, 150, 160, 160), 0.0, (1, 1)),  # beside the image: one pixel, never none
    ],
)
def test_a_crop_has_its_margin_and_stays_inside(box: Box, margin: float, shape: tuple[int, int]) -> None:
    assert crop_box(_image(), Face(box, 1.0), margin).shape[:2] == shape


def test_a_crop_shows_the_face() -> None:
    pixels = _image()
    pixels[10:50, 20:60] = 255
    assert (crop_box(pixels, Face((20, 10, 60, 50), 1.0), 0.0) == 255).all()


def test_a_crop_keeps_the_landmarks_of_the_padded_look() -> None:
    points = np.array([[120, 130], [200, 130], [160, 160], [130, 200], [190, 200]], dtype=np.float32)
    detector = Seen([], [Face((80, 80, 240, 240), 0.5, points)])
    (face,) = find_faces(_image(100, 100), detector)  # which lies at 80 to 240 of the padded 320
    assert face.landmarks is not None
    np.testing.assert_allclose(face.landmarks, (points - 80) * 100 / 160)


def test_landmarks_come_to_lie_on_the_template() -> None:
    """A dot at each landmark of a turned, shifted and enlarged face is found where the template says."""
    size, alignment = 200, 0.8
    template = ((TEMPLATE - 0.5) * alignment + (0.5, 0.5 - TEMPLATE_LIFT)) * size
    turn = 2.5 * np.exp(0.4j)
    source = turn * (template @ (1, 1j)) + (90 + 300j)
    points = np.stack([source.real, source.imag], axis=1).astype(np.float32)
    pixels = np.zeros((900, 900, 3), dtype=np.uint8)
    for x, y in points:
        cv2.circle(pixels, (round(float(x)), round(float(y))), 12, (255, 255, 255), -1)
    found = align_crop(pixels, Face((0, 0, 900, 900), 1.0, points), size, alignment=alignment)
    _, _, _, centres = cv2.connectedComponentsWithStats((found[:, :, 0] > 127).astype(np.uint8))
    assert found.shape == (size, size, 3)
    assert len(centres) == 6  # the first is the background
    for point in template:
        assert np.linalg.norm(centres[1:] - point, axis=1).min() < 1


def test_a_turned_portrait_is_cut_as_the_upright_one() -> None:
    pixels = load_image(PORTRAITS[0])
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1.0)
    turned = np.asarray(cv2.warpAffine(pixels, turn, (width, height)), dtype=np.uint8)
    (face,) = find_faces(pixels, YuNet())
    assert face.landmarks is not None
    landmarks = np.asarray(face.landmarks @ turn[:, :2].T + turn[:, 2], dtype=np.float32)
    upright = align_crop(pixels, whole_image(pixels, face.landmarks), 96, alignment=0.85).astype(float)
    found = align_crop(turned, whole_image(turned, landmarks), 96, alignment=0.85).astype(float)
    inner = (slice(24, 72), slice(24, 72))  # the corners show what the turn brought in
    assert np.abs(upright[inner] - found[inner]).mean() < 5
    assert np.abs(upright[inner] - align_crop(turned, face, 96)[inner]).mean() > 20


@pytest.mark.parametrize("alignment", [0.0, 0.85])
def test_a_photo_and_the_box_cut_out_of_it_give_the_same(alignment: float) -> None:
    """What lies around the face in a photo is nothing that a model is shown."""
    pixels = load_image(PORTRAITS[0])
    (face,) = find_faces(pixels, YuNet())
    assert face.landmarks is not None
    box = crop_box(pixels, face, 0.1)
    x, y = (round(face.box[i] - 0.1 * max(np.subtract(face.box[2:], face.box[:2]))) for i in (0, 1))
    alone = whole_image(box, face.landmarks - np.array([x, y], dtype=np.float32))
    of_photo = align_crop(pixels, face, 96, margin=0.1, alignment=alignment)
    assert (of_photo == align_crop(box, alone, 96, alignment=alignment)).all()
    painted = pixels.copy()
    painted[: max(y - 1, 0)] = 255 - painted[: max(y - 1, 0)]
    assert (of_photo == align_crop(painted, face, 96, margin=0.1, alignment=alignment)).all()


@pytest.mark.parametrize("points", [None, np.full((5, 2), 7.0, dtype=np.float32)])
def test_without_usable_landmarks_the_box_is_cut(points: Landmarks | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    face = Face((10, 5, 42, 37), 1.0, points)
    assert (align_crop(pixels, face, 32, alignment=0.85) == pixels[5:37, 10:42]).all()


@pytest.mark.parametrize("path", PORTRAITS, ids=lambda path: path.stem)
def test_a_portrait_has_one_face_with_its_eyes_in_it(path: Path) -> None:
    (face,) = find_faces(load_image(path), YuNet())
    x1, y1, x2, y2 = face.box
    assert face.landmarks is not None
    right_eye, left_eye, nose = face.landmarks[:3]
    for x, y in (right_eye, left_eye, nose):
        assert x1 < x < x2
        assert y1 < y < y2
    assert right_eye[0] < left_eye[0]  # the person's right eye stands left in the picture
    assert nose[1] > max(right_eye[1], left_eye[1])


def test_a_mirrored_portrait_has_the_mirrored_box() -> None:
    pixels = load_image(PORTRAITS[0])
    plain, mirrored = (find_faces(image, YuNet())[0].box for image in (pixels, pixels[:, ::-1]))
    expected = (pixels.shape[1] - plain[2], plain[1], pixels.shape[1] - plain[0], plain[3])
    np.testing.assert_allclose(mirrored, expected, atol=0.06 * (plain[2] - plain[0]))


def test_two_portraits_in_one_photo_are_two_faces_the_larger_first() -> None:
    pixels = load_image(PORTRAITS[0])
    small = pixels[::2, ::2]
    photo = np.full((pixels.shape[0], pixels.shape[1] + small.shape[1], 3), 128, dtype=np.uint8)
    photo[: small.shape[0], : small.shape[1]] = small
    photo[:, small.shape[1] :] = pixels
    faces = find_faces(photo, YuNet())
    assert len(faces) == 2
    assert faces[0].box[0] > small.shape[1] > faces[1].box[2]


@pytest.mark.realdata
def test_film_crops_are_found(data_root: Path) -> None:
    folder = data_root / "faces-age-detection"
    with (folder / "train.csv").open(encoding="utf-8") as file:
        names = [row["ID"] for row in csv.DictReader(file)]
    picked = np.random.default_rng(7).choice(names, 100, replace=False)
    detector = YuNet()
    found = sum(len(find_faces(load_image(folder / "Train" / name), detector)) == 1 for name in picked)
    # of all film crops 0.96 are taken as faces (results/detection.csv); 88 is four standard errors below
    assert found >= 88, f"{found} of 100"
