"""Image formats: which Pillow opens, which need more, and the depths that Pillow cuts off."""

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from threeages.errors import ImageError
from threeages.faces.arrays import Array, convert_array

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # and those of OTHERS
AVIF, HEIC = "AVIF", "HEIC"
# Brands of the containers that begin with the box 'ftyp' (ISO/IEC 14496-12), the more telling ones first.
BRANDS = {
    AVIF: {b"avif", b"avis"},
    HEIC: {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"},
}
# Formats of images that are recognised and not read.
OTHERS = {
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
}
TIFF, BIG_TIFF = (b"II*\0", b"MM\0*"), (b"II+\0", b"MM\0+")
WIDTH, HEIGHT, BITS, ORIENTATION, PLANES = 256, 257, 258, 274, 284  # tags of a TIFF
SEPARATE = 2  # value of PLANES: one plane a colour, which is read wrongly beyond 8 bits
MAX_FLOAT = 2.0**16 - 1
SIMPLER = "Save it with 8 bits a channel."
BRIGHT = 64  # where Pillow's upper 8 of 16 bits reach this, all 16 are in use


def open_image(data: bytes, check_size: Callable[[int, int], None]) -> Image.Image:
    """Open the bytes of a file by their content; its pixels are not decoded yet.

    `check_size` is called with width and height where they would be decoded at once, and raises. Raises
    ImageError `unsupported` for a format that this installation cannot decode, else what Pillow raises.
    """
    kind = _find_brand(data)
    if kind == AVIF:
        return _open_avif(data)
    if kind == HEIC:
        return _open_heic(data)
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if data[:4] in TIFF + BIG_TIFF:
            return _open_tiff(data, check_size)
        for start, name in OTHERS.items():
            if data.startswith(start):
                raise _unsupported(name, "Save it as JPEG, PNG or TIFF.") from None
        raise


def read_deep_colors(image: Image.Image, data: bytes) -> Image.Image:
    """The image, or where it has 16 bits a colour and uses fewer a copy that is scaled by what is there.

    Pillow keeps the upper 8 of 16 bits, which are dark where a camera wrote 12 bits into 16.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(PLANES) == SEPARATE and max(tags.get(BITS, (8,))) > 8:
        raise _unsupported("TIFF with separate planes", SIMPLER)
    tile = getattr(image, "tile", ())
    if not tile or ";16" not in str(tile[0][3]) or image.mode not in {"RGB", "RGBA"}:
        return image
    image.load()
    if max(high for _, high in image.getextrema()[:3]) >= BRIGHT:  # type: ignore[misc]
        return image
    return _with_orientation(_decode_opencv(data), image.getexif().get(ORIENTATION, 1))


def clean_values(values: Array) -> Array:
    """Numbers of a file as `scale_depth` takes them: what is negative or no number becomes 0.

    Floats beyond every depth are scaled by the largest.
    """
    if values.dtype.kind != "f":
        return np.maximum(values, 0)
    found = np.nan_to_num(values, posinf=0, neginf=0).clip(0)
    return np.asarray(found * min(1.0, MAX_FLOAT / max(float(found.max()), 1.0)))


def _find_brand(data: bytes) -> str | None:
    """AVIF or HEIC by the brands of an 'ftyp' box, else None."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))}
    return next((name for name, known in BRANDS.items() if brands & known), None)


def _open_avif(data: bytes) -> Image.Image:
    from PIL import features

    if not features.check("avif"):
        raise _unsupported(AVIF, "Install Pillow 11.3 or later, or save it as JPEG.")
    Image.init()
    return Image.open(io.BytesIO(data), formats=[AVIF])


def _open_heic(data: bytes) -> Image.Image:
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise _unsupported(HEIC, "HEIC: install threeages[heif], or save it as JPEG.") from None
    image: Image.Image = HeifImageFile(io.BytesIO(data))
    return image


def _open_tiff(data: bytes, check_size: Callable[[int, int], None]) -> Image.Image:
    """A TIFF that Pillow has no mode for, such as RGB floats, decoded at once by OpenCV."""
    from PIL import TiffImagePlugin  # 5 ms, for few files

    try:
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(data[: 8 if data[:4] in TIFF else 16])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        width, height = int(tags[WIDTH]), int(tags[HEIGHT])
    except Exception as error:  # whatever hostile tags make of Pillow's parser
        raise UnidentifiedImageError from error
    check_size(width, height)
    if tags.get(PLANES) == SEPARATE:
        raise _unsupported("TIFF with separate planes", SIMPLER)
    return _with_orientation(_decode_opencv(data), tags.get(ORIENTATION, 1))


def _decode_opencv(data: bytes) -> Image.Image:
    """RGB pixels that OpenCV decodes at full depth, scaled by what is there."""
    level = cv2.utils.logging.setLogLevel(0)  # it prints what it then raises
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is not None:
            return Image.fromarray(convert_array(clean_values(np.asarray(found)), bgr=True))
    except (cv2.error, ImageError):
        pass
    finally:
        cv2.utils.logging.setLogLevel(level)
    raise _unsupported("TIFF or PNG of an unusual depth", SIMPLER)


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[ORIENTATION] = orientation
    return image


def _unsupported(name: str, hint: str) -> ImageError:
    return ImageError(
        "unsupported", f"The image is in the format {name}, which cannot be read here.", hint=hint
    )
