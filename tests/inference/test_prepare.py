import io

import numpy as np
import pytest
from PIL import Image

from threeages.faces.crop import Face, turn_face, turn_image
from threeages.faces.images import Pixels
from threeages.inference.prepare import FacePreparer
from threeages.inference.records import REJECTION_REASONS
from threeages.signature import Signature

SIGNATURE = Signature(name="test", input_size=24)
PHOTO = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
FACES = [Face((10, 20, 110, 140), 0.9), Face((200, 50, 210, 60), 0.8)]


class Found:
    """A detector that finds given faces."""

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces

    def detect(self, pixels: Pixels, min_score: float = 0.7) -> list[Face]:
        return self.faces


def test_faces_have_boxes_crops_and_rejections() -> None:
    image = FacePreparer(SIGNATURE, Found(FACES)).prepare("a", PHOTO)
    assert (image.path, image.status) == ("a", "ok")
    assert [face.box for face in image.faces] == [(10, 20, 110, 140), (200, 50, 210, 60)]
    assert {face.pixels.shape for face in image.faces} == {(24, 24, 3)}
    assert [face.rejection for face in image.faces] == ["", "face_too_small"]


def test_without_a_detector_the_image_is_one_face_that_nothing_rejects() -> None:
    (face,) = FacePreparer(SIGNATURE, None).prepare("a", np.zeros((9, 12, 3), dtype=np.uint8)).faces
    assert (face.box, face.rejection) == ((0, 0, 12, 9), "")


def test_an_image_without_a_face_says_so() -> None:
    image = FacePreparer(SIGNATURE, Found([])).prepare("a", PHOTO)
    assert (image.faces, image.status) == ((), "no_face")
    assert image.message


@pytest.mark.parametrize(("max_pixels", "status"), [(200 * 300, "ok"), (200 * 300 - 1, "too_large")])
def test_pixels_are_limited_by_the_argument(max_pixels: int, status: str) -> None:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "PNG")
    image = FacePreparer(SIGNATURE, None, max_pixels=max_pixels).prepare("a", file.getvalue())
    assert image.status == status
    assert status == "ok" or f"{max_pixels:,}" in image.message


def test_a_turned_face_has_its_box_in_the_image_and_an_upright_crop() -> None:
    upright = Face((60, 10, 180, 110), 0.9)
    (face,) = FacePreparer(SIGNATURE, Found([upright])).prepare("a", PHOTO).faces
    turned = turn_face(upright, 1, 300, 200)
    pixels = turn_image(PHOTO, 1)
    (other,) = FacePreparer(SIGNATURE, Found([turned])).prepare("a", pixels).faces
    assert other.box == (10, 120, 110, 240)
    assert (other.pixels == face.pixels).all()


def test_a_face_that_no_turn_makes_upright_is_rejected() -> None:
    lost = Face((60, 10, 180, 110), 0.9, turns=None)
    (face,) = FacePreparer(SIGNATURE, Found([lost])).prepare("a", PHOTO).faces
    assert face.rejection == "turned"
    assert REJECTION_REASONS["turned"]
