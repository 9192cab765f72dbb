import cv2
import numpy as np
import pytest

from threeages.demo import find_portraits
from threeages.faces.crop import Face, crop_box
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image
from threeages.faces.quality import MIN_DETAIL, face_detail, find_rejection_reason
from threeages.faces.yunet import YuNet


@pytest.fixture(scope="module")
def face() -> Pixels:
    pixels = load_image(find_portraits()[0])
    return crop_box(pixels, find_faces(pixels, YuNet())[0], 0)


def blur(pixels: Pixels, share: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), share * max(pixels.shape[:2])), dtype=np.uint8)


def test_detail_falls_with_blur_and_not_with_size(face: Pixels) -> None:
    details = [face_detail(face)] + [face_detail(blur(face, s)) for s in (0.01, 0.02, 0.04, 0.08)]
    assert details == sorted(details, reverse=True)
    half = cv2.resize(face, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    assert face_detail(np.asarray(half)) == pytest.approx(face_detail(face), rel=0.3)
    assert face_detail(np.full((50, 50, 3), 7, dtype=np.uint8)) == 0


def test_faults(face: Pixels) -> None:
    whole = Face((0, 0, 160, 160), 0.9)
    assert find_rejection_reason(whole, face) == ""
    assert face_detail(blur(face, 0.1)) < MIN_DETAIL
    assert find_rejection_reason(whole, blur(face, 0.1)) == "blurred"
    assert find_rejection_reason(Face((0, 0, 15, 40), 0.9), face) == "face_too_small"
    assert find_rejection_reason(Face((0, 0, 15, 40), 0.9), face, scale=2.0) == ""
