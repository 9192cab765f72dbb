"""Formats by content, and depths that are scaled by what is there."""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from threeages.errors import ImageError
from threeages.faces.images import MAX_PIXELS, SUFFIXES, load_image

# blocks of 8 pixels, so that compression keeps them; the brightest uses all of its bits
GREY = np.kron(np.random.default_rng(0).integers(0, 256, (5, 7)), np.ones((8, 8))).astype(np.uint8)
GREY[:8, :8] = 255
RGB = np.dstack([GREY, GREY[::-1], GREY[:, ::-1]])
HEIC = (Path(__file__).parent / "ramp.heic").read_bytes()  # a ramp from black to white, one corner white


def _save(pixels: Any, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def _encode(values: Any, suffix: str) -> bytes:
    """A file with the depth of the values, RGB in the order red, green, blue."""
    ordered = values if values.ndim == 2 else values[:, :, [2, 1, 0, 3][: values.shape[2]]]
    return bytes(cv2.imencode(suffix, np.ascontiguousarray(ordered))[1])


def _portable(values: Any, largest: int) -> bytes:
    kind, (height, width) = "P5" if values.ndim == 2 else "P6", values.shape[:2]
    return f"{kind} {width} {height} {largest}\n".encode() + values.astype(">u2").tobytes()


def _deep(pixels: Any, bits: int) -> Any:
    """The pixels with more bits, in 16."""
    return (pixels.astype(np.uint16) << 8 | pixels) >> (16 - bits)


def _rgba(bits: int) -> Any:
    return np.dstack([_deep(RGB, bits), np.full_like(GREY, 2**bits - 1, dtype=np.uint16)])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("pixels", [GREY, RGB])
def test_fewer_bits_in_16_are_scaled(pixels: Any, bits: int, suffix: str) -> None:
    values = _deep(pixels, bits) if bits > 8 else pixels.astype(np.uint16)
    found = load_image(_encode(values, suffix))
    np.testing.assert_array_equal(found, pixels if pixels.ndim == 3 else np.dstack([pixels] * 3))


@pytest.mark.parametrize("largest", [1023, 4095, 65535])
def test_portable_maps_are_scaled_by_their_largest_value(largest: int) -> None:
    for pixels in (GREY, RGB):
        values = np.rint(pixels / 255 * largest)
        found = load_image(_portable(values, largest)).astype(int)
        assert np.abs(found - np.atleast_3d(pixels)).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [12, 16])
def test_alpha_has_its_own_depth(bits: int, suffix: str) -> None:
    np.testing.assert_array_equal(load_image(_encode(_rgba(bits), suffix)), RGB)


@pytest.mark.parametrize("top", [1, 255, 4095, 65535, 1_000_000])
@pytest.mark.parametrize("pixels", [GREY, RGB])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_scaled(pixels: Any, top: float, dtype: Any) -> None:
    found = load_image(_encode((pixels / 255 * top).astype(dtype), ".tif")).astype(int)
    assert np.abs(found - np.atleast_3d(pixels)).max() <= 1


def test_floats_that_are_no_numbers_are_black() -> None:
    values = np.where(GREY > 200, np.nan, GREY / 255).astype(np.float32)
    found = load_image(_encode(values, ".tif"))[:, :, 0]
    assert (found[GREY > 200] == 0).all()
    np.testing.assert_array_equal(found[GREY <= 200], GREY[GREY <= 200])


def test_integers_of_32_bits() -> None:
    values = GREY.astype(np.int32)
    for shift in (0, 4, 8):
        found = load_image(_save(values << shift, "TIFF"))
        np.testing.assert_array_equal(found[:, :, 0], GREY)
    with pytest.raises(ImageError, match="no depth") as caught:
        load_image(_save(values + 70_000, "TIFF"))
    assert caught.value.status == "unsupported"


def test_negatives_are_turned_over() -> None:
    tags = ImageFileDirectory_v2()
    tags[262] = 0  # white is zero
    for bits in (12, 16):
        found = load_image(_save(_deep(255 - GREY, bits), "TIFF", tiffinfo=tags))
        assert np.abs(found[:, :, 0].astype(int) - GREY).max() <= 1


def test_the_orientation_of_a_deep_image_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes()[6:]
    chunk = b"eXIf" + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = _encode(_deep(RGB, 12), ".png")
    at = data.index(b"IDAT") - 4
    np.testing.assert_array_equal(load_image(data[:at] + chunk + data[at:]), np.rot90(RGB, -1))


def test_separate_planes_beyond_8_bits_are_refused() -> None:
    data = bytearray(_encode(_deep(RGB, 16), ".tif"))
    # the tag of the planes: number 284, one short, 1 -> 2
    at = data.index((284).to_bytes(2, "little") + b"\x03\0\x01\0\0\0")
    data[at + 8] = 2
    with pytest.raises(ImageError, match="separate planes") as caught:
        load_image(bytes(data))
    assert caught.value.status == "unsupported"


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("WEBP", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("GIF", {}),
        ("AVIF", {}),
    ],
)
def test_formats_are_known_by_content_whatever_their_name(
    form: str, options: dict[str, Any], tmp_path: Path
) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    for name in ("a.jfif", "a.jpe", "a.mpo", "a.pgm", "a", "a.txt"):
        (tmp_path / name).write_bytes(_save(np.dstack([GREY] * 3), form, **options))
        found = load_image(tmp_path / name).astype(int)
        assert np.abs(found - GREY[:, :, None]).mean() < 8


def test_the_suffixes_of_cameras_and_browsers_are_listed() -> None:
    assert {".jfif", ".jpe", ".mpo", ".pgm", ".avif", ".heic", ".heif"} <= SUFFIXES


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_that_pillow_cannot_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _save(RGB, "AVIF")
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(ImageError, match="AVIF") as caught:
        load_image(data)
    assert caught.value.status == "unsupported"


def test_heic() -> None:
    pytest.importorskip("pi_heif")
    found = load_image(HEIC)
    assert found.shape == (64, 96, 3)
    assert found[2, 2].min() > 245
    assert (np.diff(found[40, ::8, 0].astype(int)) > 0).all()
    for end in (20, 200, 400, len(HEIC) - 30):
        with pytest.raises(ImageError) as caught:
            load_image(HEIC[:end])
        assert caught.value.status in {"corrupt", "truncated"}
    with pytest.raises(ImageError, match="96x64"):
        load_image(HEIC, max_pixels=6000)
    assert ".heic" not in Image.registered_extensions()  # nothing changes in the caller's Pillow


def test_heic_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError) as caught:
        load_image(HEIC)
    assert caught.value.status == "unsupported"
    assert "HEIC: install threeages[heif]" in caught.value.hint


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    ],
)
def test_known_formats_that_are_not_read_are_named(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name) as caught:
        load_image(start + bytes(100))
    assert caught.value.status == "unsupported"


def test_a_film_is_no_image() -> None:
    with pytest.raises(ImageError) as caught:
        load_image(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(200))
    assert caught.value.status == "not_an_image"


def test_the_size_of_a_float_tiff_is_checked_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _encode((RGB / 255).astype(np.float32), ".tif")
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError) as caught:
        load_image(data, max_pixels=100)
    assert caught.value.status == "too_large"
    assert MAX_PIXELS > 100


def test_damaged_tiffs_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    good = _encode((RGB / 255).astype(np.float32), ".tif")
    for at in range(8, len(good), max(1, len(good) // 40)):
        with pytest.raises(ImageError):
            load_image(good[:at])
    out, err = capfd.readouterr()
    assert "OpenCV" not in out + err
