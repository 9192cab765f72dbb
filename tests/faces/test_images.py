import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from threeages.errors import ImageError
from threeages.faces.images import MAX_PIXELS, load_image, load_reduced, resize, scale_image, shrink_image


def test_each_damage_has_its_status(bad_images: dict[str, Path]) -> None:
    for status, path in bad_images.items():
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert caught.value.status == status, path


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"P6 "]),
)
def test_random_bytes_raise_nothing_else(data: bytes, magic: bytes) -> None:
    with pytest.raises(ImageError):
        load_image(magic + data)


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("RGBA", (0, 0, 0, 0), "png", (255, 255, 255)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 0x8000, "png", (128, 128, 128)),
        ("P", 0, "gif", (0, 0, 0)),
    ],
)
def test_unusual_modes_become_rgb(
    tmp_path: Path, mode: str, color: object, suffix: str, expected: tuple[int, ...]
) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (20, 10), color).save(path)  # type: ignore[arg-type]
    pixels = load_image(path)
    assert pixels.shape == (10, 20, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 8


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").shape == (40, 20, 3)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif")[0, 0, 0] > 200


def test_large_jpeg_is_reduced_but_not_below_target(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200)).save(tmp_path / "a.jpg")
    shape = load_image(tmp_path / "a.jpg", target=300).shape
    assert 300 <= min(shape[:2]) < 1200


def test_resize_keeps_a_flat_colour() -> None:
    for side in (10, 500):
        assert (resize(np.full((side, side, 3), 77, dtype=np.uint8), 128) == 77).all()


@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_a_damaged_image_is_pixels_or_an_image_error(form: str, damage: list[tuple[int, int]]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)).save(buffer, form)
    data = bytearray(buffer.getvalue())
    for at, value in damage:
        data[at % len(data)] = value
    try:
        pixels = load_image(bytes(data))
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)


def test_16_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (16, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    row = load_image(tmp_path / "a.png")[0, :, 0].astype(int)
    assert (np.diff(row) > 0).all()
    assert (row[0], row[-1]) == (0, 255)


def test_transparent_palette_colour_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (10, 0, 20, 20))
    image.save(tmp_path / "a.png", transparency=0)
    pixels = load_image(tmp_path / "a.png")
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 19].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("orientation", "white_corner"), [(3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_turns_the_right_way(tmp_path: Path, orientation: int, white_corner: tuple[int, int]) -> None:
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    turned = load_image(tmp_path / "a.jpg")
    corners = {(y, x): turned[y, x, 0] > 128 for y in (0, -1) for x in (0, -1)}
    assert [corner for corner, white in corners.items() if white] == [white_corner]


@pytest.mark.parametrize("target", [100, 150, 151, 600, 5000])
@pytest.mark.parametrize("form", ["JPEG", "MPO"])
def test_reduction_is_the_strongest_that_keeps_the_target(form: str, target: int) -> None:
    image, buffer = Image.new("RGB", (1600, 1200)), io.BytesIO()
    image.save(buffer, form, **({"save_all": True, "append_images": [image]} if form == "MPO" else {}))
    side = min(load_image(buffer.getvalue(), target=target).shape[:2])
    assert side == min(s for s in (150, 300, 600, 1200) if s >= min(target, 1200))


def _resized_header(png: Path, width: int, height: int) -> bytes:
    """The bytes of a PNG that claims another size; its pixels cannot be decoded."""
    data = bytearray(png.read_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


# above Pillow's own limit, above MAX_PIXELS alone, and above a limit given
@pytest.mark.parametrize(
    ("width", "height", "limit"), [(40_000, 40_000, 0), (11_000, 10_000, 0), (90, 90, 8_000)]
)
def test_too_large_is_told_before_decoding(
    bad_images: dict[str, Path], width: int, height: int, limit: int
) -> None:
    data = _resized_header(bad_images["too_large"], width, height)
    with pytest.raises(ImageError) as caught:
        load_image(data, max_pixels=limit or MAX_PIXELS)
    assert caught.value.status == "too_large"
    assert f"{limit or MAX_PIXELS:,}" in caught.value.hint


def test_max_pixels_is_allowed_itself() -> None:
    file = io.BytesIO()
    Image.new("RGB", (90, 90)).save(file, "PNG")
    assert load_image(file.getvalue(), max_pixels=8_100).shape == (90, 90, 3)
    assert load_reduced(file.getvalue(), 30, max_pixels=8_100)[1] == 1


def test_messages_are_two_sentences(bad_images: dict[str, Path]) -> None:
    tiff = io.BytesIO()
    Image.new("RGB", (20, 20)).save(tiff, "TIFF")
    sources: list[Path | bytes] = [tiff.getvalue()[:n] for n in range(9, 200, 10)]
    for source in (*sources, *bad_images.values()):
        with pytest.raises(ImageError) as caught:
            load_image(source)
        assert caught.value.message.endswith(".")
        assert caught.value.hint.endswith(".")
        assert not caught.value.message.endswith("..")


@pytest.mark.parametrize("name", [".", "a\0b.jpg", "a" * 5000])
def test_unreadable_names_are_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / name)
    assert caught.value.status == "missing"


def test_resize_shapes_and_averages() -> None:
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    small = resize(stripes, 10)
    assert small.shape == (10, 10, 3)
    assert (small == 100).all()  # area averaging: no stripe is left over
    assert resize(stripes, 90).shape == (90, 90, 3)


def test_scaling_keeps_the_shape() -> None:
    pixels = np.full((40, 60, 3), 77, dtype=np.uint8)
    assert shrink_image(pixels, 60) is pixels
    assert shrink_image(pixels, 30).shape == (20, 30, 3)
    assert scale_image(pixels, 1.5).shape == (60, 90, 3)
    assert scale_image(pixels, 0.001).shape == (1, 1, 3)
    assert (scale_image(pixels, 1.5) == 77).all()
