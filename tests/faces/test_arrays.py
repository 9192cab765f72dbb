"""Arrays of every layout and depth."""

from typing import Any

import numpy as np
import pytest

from threeages.errors import ImageError
from threeages.faces.arrays import convert_array, scale_depth

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)
OPAQUE = np.full((20, 30, 1), 255, dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (RGB, RGB),
        (np.ascontiguousarray(RGB[:, ::-1])[:, ::-1], RGB),
        (np.asfortranarray(RGB), RGB),
        (GREY, GREY_RGB),
        (GREY[:, :, None], GREY_RGB),
        (GREY[None], GREY_RGB),
        (np.dstack([GREY, OPAQUE]), GREY_RGB),
        (np.dstack([RGB, OPAQUE]), RGB),
        (np.dstack([RGB, 0 * OPAQUE]), np.full_like(RGB, 255)),
        (np.moveaxis(RGB, -1, 0), RGB),
        (np.moveaxis(np.dstack([RGB, OPAQUE]), -1, 0), RGB),
        (RGB[None], RGB),
        (RGB[None, None], RGB),
        (np.moveaxis(RGB, -1, 0)[None], RGB),
        (RGB.astype(np.int64), RGB),
        (RGB.astype(np.uint16), RGB),
        (RGB.astype(np.uint16) << 2, RGB),
        (RGB.astype(np.uint16) << 4, RGB),
        (RGB.astype(">u2") << 8, RGB),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.uint32) << 24, RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        ((RGB / 255).astype(np.float16), RGB),
        (RGB.astype(np.float64), RGB),
        (RGB.astype(np.float32) * 257, RGB),
        (RGB / 255 * 1.04 - 0.02, None),
        (np.dstack([RGB.astype(np.float64), OPAQUE / 255]), RGB),
        (np.dstack([RGB.astype(np.uint16) << 4, OPAQUE.astype(np.uint16) * 257]), RGB),
        (GREY > 127, np.where(GREY_RGB > 127, 255, 0)),
        (np.ma.masked_array(RGB), RGB),
        (np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape), RGB),
    ],
)
def test_what_is_unambiguous_becomes_rgb(given: Any, expected: Any) -> None:
    found = convert_array(given)
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.uint8, RGB.shape, True)
    close = RGB if expected is None else expected
    tolerance = 6 if expected is None else 1 if given.dtype == np.float16 else 0
    assert np.abs(found.astype(int) - close).max() <= tolerance
    assert type(found) is np.ndarray


def test_uint8_rgb_is_not_copied_and_nothing_given_is_changed() -> None:
    assert convert_array(RGB) is RGB
    for given in (RGB / 255, RGB.astype(np.uint16) << 4, np.dstack([RGB, OPAQUE])):
        before = given.copy()
        convert_array(given)
        np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(
    "given", [RGB[:, :, ::-1], np.dstack([RGB[:, :, ::-1], OPAQUE]), (RGB / 255)[:, :, ::-1]]
)
def test_bgr(given: Any) -> None:
    np.testing.assert_array_equal(convert_array(given, bgr=True), RGB)
    np.testing.assert_array_equal(convert_array(GREY, bgr=True), GREY_RGB)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((0, 0, 3), np.uint8), "empty"),
        (np.zeros((20, 0, 3), np.uint8), "empty"),
        (np.zeros((20, 30, 0), np.uint8), "empty"),
        (np.array(None), "no numbers"),
        (RGB.astype(object), "no numbers"),
        (RGB.astype(complex), "no numbers"),
        (RGB.astype(str), "no numbers"),
        (RGB.astype("datetime64[s]"), "no numbers"),
        (np.zeros((4, 4), dtype=[("r", "u1")]), "no numbers"),
        (np.array(7), "no image"),
        (np.arange(300), "no image"),
        (np.zeros((2, 20, 30, 3), np.uint8), "one by one"),
        (np.zeros((20, 30, 3, 5), np.uint8), "no image"),
        (np.zeros((20, 30, 5), np.uint8), "channels"),
        (np.zeros((2, 20, 30), np.uint8), "channels"),
        (np.where(RGB > 200, np.nan, RGB / 255), "not finite"),
        (np.where(RGB > 200, np.inf, RGB / 255), "not finite"),
        (RGB / 127.5 - 1, "from -1 to 1"),
        (RGB.astype(int) - 128, "from -128 to 127"),
        (RGB.astype(np.int64) << 40, "no depth"),
        (RGB.astype(np.int64) + 70_000, "no depth"),
        (RGB * 1e9, "no range"),
    ],
)  # fmt: skip
def test_the_rest_is_named_with_shape_and_dtype(given: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        convert_array(given)
    assert caught.value.status == "bad_array"
    assert str(given.shape) in caught.value.message
    assert str(given.dtype) in caught.value.message
    assert "height, width, 3" in caught.value.hint


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_depth_is_that_of_the_largest_value(bits: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 500).astype(np.uint16)
    found = scale_depth(ramp)
    assert (found[0], found[-1]) == (0, 255)
    assert (np.diff(found.astype(int)) >= 0).all()
    np.testing.assert_allclose(scale_depth(ramp.astype(np.float32)), found, atol=1)
