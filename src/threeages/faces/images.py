"""From a file or bytes to upright uint8 RGB pixels, or to an ImageError that says why not."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from threeages.errors import ImageError, describe_cause
from threeages.faces.arrays import Array, convert_array, lay_over_white, scale_depth
from threeages.faces.arrays import Pixels as Pixels
from threeages.faces.formats import FORMATS, clean_values, open_image, read_deep_colors

# Any phone photo has fewer (200-megapixel sensors are binned to 50); a larger file is likely an attack.
MAX_PIXELS = 100_000_000
MIN_SIDE = 8  # the smallest face crop of the film faces is 8x11
SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif",
        ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".heic", ".heif", ".hif",
    }
)  # fmt: skip
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of a TIFF and its value for negatives
SAMPLE_FORMAT, UNSIGNED = 339, 1  # another tag, and its value for unsigned integers

DIGEST_BYTES = 16  # 128 bits: a chance collision among a billion images is below 1e-20


def load_image(
    source: Path | bytes,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
    target: int | None = None,
) -> Pixels:
    """Decode an image to upright uint8 RGB `(height, width, 3)`; of an animation, its first frame.

    `min_side` and `max_pixels` are in pixels; for `target` see `load_reduced`. Raises ImageError, whose
    `status` is one of `missing`, `empty`, `not_an_image`, `unsupported`, `too_large`, `too_small`,
    `truncated`, `corrupt`.
    """
    return load_reduced(source, target, min_side=min_side, max_pixels=max_pixels)[0]


def load_reduced(
    source: Path | bytes,
    target: int | None,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Pixels, float]:
    """Decode an image at a reduced size: uint8 RGB `(height, width, 3)` and the reduction.

    The reduction is the number of the file's pixels along a side that one returned pixel stands for. A JPEG
    is decoded at the largest power-of-two reduction whose shorter side still has `target` pixels, which makes
    a 12-megapixel photo cheap; other formats, and every image with None, are decoded in full. Raises
    ImageError as `load_image` does; `max_pixels` is checked before decoding.
    """
    data = _read(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("empty", "The file has no bytes.", hint="Copy or download it again.")
    image = _open(data, max_pixels)
    check_size(*image.size, min_side=min_side, max_pixels=max_pixels)
    longer = max(image.size)
    if target is not None and image.format in {"JPEG", "MPO"}:  # MPO: a phone's JPEG with a second picture
        image.draft("RGB", (target, target))
    pixels = _decode(image, data)
    return pixels, longer / max(pixels.shape[:2])


def load_pillow(image: Image.Image, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Load the pixels of a Pillow image that was opened and not read yet; raises ImageError."""
    check_size(*image.size, min_side=min_side, max_pixels=max_pixels)
    try:
        image.load()
    except Exception as error:
        raise _damaged(error) from error
    return image


def convert_pillow(image: Image.Image, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Convert a Pillow image of any mode to upright uint8 RGB `(height, width, 3)`; it stays as it is.

    The orientation in its EXIF data is applied. Raises ImageError as `load_image` does.
    """
    load_pillow(image, min_side=min_side, max_pixels=max_pixels)
    return _convert(ImageOps.exif_transpose(image), getattr(image, "tag_v2", {}))


def convert_pixels(image: Image.Image | Array, *, bgr: bool = False, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Convert a Pillow image or an array to upright uint8 RGB `(height, width, 3)`.

    With `bgr` an array has the order blue, green, red. Raises ImageError, see `convert_pillow` and
    `convert_array`; arrays have the same bounds as files.
    """
    if isinstance(image, Image.Image):
        return convert_pillow(image, max_pixels=max_pixels)
    pixels = convert_array(image, bgr=bgr)
    check_size(pixels.shape[1], pixels.shape[0], max_pixels=max_pixels)
    return pixels


def encode_png(pixels: Pixels) -> bytes:
    """The bytes of a PNG file of uint8 RGB `(height, width, 3)`, lightly compressed."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def check_size(width: int, height: int, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError `too_large` or `too_small` for a size outside the bounds, in pixels."""
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height}", max_pixels)
    if min(width, height) < min_side:
        hint = f"It needs at least {min_side} on each side."
        raise ImageError("too_small", f"The image has {width}x{height} pixels.", hint=hint)


def resize(pixels: Pixels, size: int) -> Pixels:
    """Resize to uint8 RGB `(size, size, 3)`: area averaging when shrinking, bilinear when enlarging.

    The pixel cache and the predictor share it, so that training and inference see the same pixels.
    """
    height, width = pixels.shape[:2]
    method = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), dtype=np.uint8)


def scale_image(pixels: Pixels, scale: float) -> Pixels:
    """Scale both sides of a uint8 RGB image by `scale`: area averaging below 1, bilinear above."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), dtype=np.uint8)


def shrink_image(pixels: Pixels, longer: int) -> Pixels:
    """Scale a uint8 RGB image down to `longer` pixels on its longer side; a smaller one stays as it is."""
    scale = longer / max(pixels.shape[:2])
    return pixels if scale >= 1 else scale_image(pixels, scale)


def pixel_digest(pixels: Pixels) -> bytes:
    """16 bytes of blake2b over the shape and the bytes of uint8 pixels of any shape.

    The shape counts, so that 2x3 and 3x2 images of the same bytes differ.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("missing", f"There is no file {path}.", hint="Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ImageError(
            "missing", f"Cannot read {path}: {describe_cause(error)}.", hint="Check its name and rights."
        ) from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        return open_image(data, lambda width, height: check_size(width, height, max_pixels=max_pixels))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        hint = f"Allowed: {', '.join(FORMATS)}."
        raise ImageError("not_an_image", "The file is in no known image format.", hint=hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("too many", max_pixels) from error
    except Exception as error:  # Pillow's parsers raise SyntaxError, struct.error and more on hostile headers
        message = f"The image header is damaged: {describe_cause(error)}."
        raise ImageError("corrupt", message, hint="Save it again.") from error


def _too_large(size: str, max_pixels: int) -> ImageError:
    hint = f"It may have at most {max_pixels:,}; scale it down first."
    return ImageError("too_large", f"The image has {size} pixels.", hint=hint)


def _decode(image: Image.Image, data: bytes) -> Pixels:
    try:
        image = read_deep_colors(image, data)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # in place: it copies even what is upright
    except ImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error
        raise _damaged(error) from error
    return _convert(image, getattr(image, "tag_v2", {}))


def _convert(image: Image.Image, tags: Mapping[int, Any]) -> Pixels:
    try:
        return np.asarray(_to_rgb(image, tags), dtype=np.uint8)
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> ImageError:
    status = "truncated" if "truncated" in str(error).lower() else "corrupt"
    hint = "Copy or download it again."
    return ImageError(status, f"The image data is damaged: {describe_cause(error)}.", hint=hint)


def _to_rgb(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """RGB over white where the image is transparent; greys of other depths scaled by what is there.

    `tags` are those of a TIFF.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_scale(np.asarray(image), tags)).convert("RGB")
    if image.mode in {"La", "RGBa"}:  # multiplied by alpha
        image = image.convert(image.mode.upper())
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        return lay_over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale(values: Array, tags: Mapping[int, Any]) -> Pixels:
    """uint8 of 16 or 32-bit integers or of floats."""
    if values.dtype == np.int32 and tags and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED:
        values = values.view(np.uint32)  # Pillow has no mode for them
    try:
        scaled = scale_depth(clean_values(values))
    except ValueError as error:
        message = f"The depth of the image is not known: {describe_cause(error)}."
        raise ImageError("unsupported", message, hint="Save it with 8 bits a channel.") from error
    return 255 - scaled if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else scaled
