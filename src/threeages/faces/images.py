"""From a file or bytes to upright uint8 RGB pixels, or to an ImageError that says why not."""

import hashlib
import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from threeages.errors import ImageError

Pixels = NDArray[np.uint8]

# 100 megapixels hold any phone photo (at most 200 MP binned to 50); above it a file is more likely a bomb.
MAX_PIXELS = 100_000_000
MIN_SIDE = 8  # the smallest face crop of the film faces is 8x11
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

# Pillow warns of odd EXIF and of sizes that are checked below; once, as catch_warnings is not thread-safe
warnings.filterwarnings("ignore", module="PIL")
cv2.setNumThreads(1)  # work is spread over images, not inside one


def load_image(source: Path | bytes, *, min_side: int = MIN_SIDE, target: int | None = None) -> Pixels:
    """Upright uint8 RGB `(height, width, 3)`; the first frame of an animation.

    For `target` see `load_reduced`. Raises ImageError, whose `status` is one of `missing`, `empty`,
    `not_an_image`, `too_large`, `too_small`, `truncated`, `corrupt`.
    """
    return load_reduced(source, target, min_side=min_side)[0]


def load_reduced(
    source: Path | bytes, target: int | None, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS
) -> tuple[Pixels, float]:
    """As `load_image`, and how many pixels of the file one of these pixels stands for.

    A JPEG is decoded at the smallest power-of-two reduction whose shorter side is still at least `target`,
    which is what makes a 12-megapixel photo cheap; None decodes it in full.
    """
    data = _read(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("empty", "The file has no bytes.", hint="Copy or download it again.")
    image = _open(data)
    _check_size(image, min_side, max_pixels)
    longer = max(image.size)
    if target is not None and image.format in {"JPEG", "MPO"}:  # MPO: a phone's JPEG with a second picture
        image.draft("RGB", (target, target))
    pixels = _decode(image)
    return pixels, longer / max(pixels.shape[:2])


def resize(pixels: Pixels, size: int) -> Pixels:
    """uint8 RGB `(size, size, 3)`: area averaging when shrinking, bilinear when enlarging.

    Used by the pixel cache and by the predictor alike, so that a model sees in use what it was trained on.
    """
    height, width = pixels.shape[:2]
    method = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), dtype=np.uint8)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("missing", f"No such file: {path}", hint="Check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        why = getattr(error, "strerror", None) or error
        raise ImageError(
            "missing", f"Cannot read {path}: {why}", hint="Check its name and rights."
        ) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        hint = f"Allowed: {', '.join(FORMATS)}."
        raise ImageError("not_an_image", "The bytes are in no image format known here.", hint=hint) from error
    except Image.DecompressionBombError as error:
        raise _too_large("too many", MAX_PIXELS) from error
    except Exception as error:  # Pillow's parsers raise SyntaxError, struct.error and more on hostile headers
        raise ImageError("corrupt", f"The image header is damaged: {error}", hint="Save it again.") from error


def _check_size(image: Image.Image, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height}", max_pixels)
    if min(width, height) < min_side:
        raise ImageError(
            "too_small", f"The image is {width}x{height} pixels.", hint=f"At least {min_side} on each side."
        )


def _too_large(size: str, max_pixels: int) -> ImageError:
    return ImageError(
        "too_large", f"The image has {size} pixels.", hint=f"At most {max_pixels:,}; scale it down first."
    )


def _decode(image: Image.Image) -> Pixels:
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # in place: it copies even what is upright
        return np.asarray(_to_rgb(image), dtype=np.uint8)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error
        status = "truncated" if "truncated" in str(error).lower() else "corrupt"
        hint = "Copy or download it again."
        raise ImageError(status, f"The image data is damaged: {error}", hint=hint) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB over white where the image is transparent; 16-bit greys scaled, not clipped."""
    if image.mode.startswith("I"):
        return Image.fromarray(
            (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(np.asarray(image).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


DIGEST_BYTES = 16  # 128 bits: a chance collision among a billion images is below 1e-20


def pixel_digest(pixels: Pixels) -> bytes:
    """16 bytes of blake2b over the shape and the bytes of uint8 pixels of any shape.

    The shape counts, so that 2x3 and 3x2 images of the same bytes differ.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
