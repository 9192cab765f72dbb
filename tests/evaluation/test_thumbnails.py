import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from threeages.errors import ImageError
from threeages.evaluation.thumbnails import encode_thumbnail


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_longer_side_is_as_asked_and_a_small_image_stays(tmp_path: Path, suffix: str) -> None:
    for given, shown in (((600, 300), (120, 60)), ((50, 40), (50, 40))):
        Image.new("RGB", given, "red").save(tmp_path / f"image.{suffix}")
        address = encode_thumbnail(tmp_path / f"image.{suffix}", 120, 80)
        data = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data)).size == shown


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError):
        encode_thumbnail(tmp_path / "text.jpg", 120, 80)
