from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from threeages.errors import ImageError
from threeages.images import load_image, resize


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
