"""Small pictures of images inside a page, so that it is one file."""

import base64
import io
from pathlib import Path

from PIL import Image

from threeages.faces.images import load_reduced


def encode_thumbnail(path: Path, side: int, quality: int) -> str:
    """The image as a JPEG of at most `side` pixels in a data address; raises ImageError."""
    pixels, _ = load_reduced(path, side)
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
