"""From a file or bytes to upright uint8 RGB pixels, or to an ImageError that says why not."""

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from threeages.errors import ImageError

Pixels = NDArray[np.uint8]

# Any phone photo has fewer (200-megapixel sensors are binned to 50); a larger file is likely an attack.
MAX_PIXELS = 100_000_000
MIN_SIDE = 8  # the smallest face crop of the film faces is 8x11
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

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
    `status` is one of `missing`, `empty`, `not_an_image`, `too_large`, `too_small`, `truncated`, `corrupt`.
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
    _check_size(image, min_side, max_pixels)
    longer = max(image.size)
    if target is not None and image.format in {"JPEG", "MPO"}:  # MPO: a phone's JPEG with a second picture
        image.draft("RGB", (target, target))
    pixels = _decode(image)
    return pixels, longer / max(pixels.shape[:2])


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
        why = getattr(error, "strerror", None) or error
        raise ImageError(
            "missing", f"Cannot read {path}: {why}.", hint="Check its name and rights."
        ) from error


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        hint = f"Allowed: {', '.join(FORMATS)}."
        raise ImageError("not_an_image", "The file is in no known image format.", hint=hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("too many", max_pixels) from error
    except Exception as error:  # Pillow's parsers raise SyntaxError, struct.error and more on hostile headers
        message = f"The image header is damaged: {_clause(error)}."
        raise ImageError("corrupt", message, hint="Save it again.") from error


def _clause(error: Exception) -> str:
    """The decoder's message, to end a sentence with."""
    return str(error).strip().rstrip(".") or type(error).__name__


def _check_size(image: Image.Image, min_side: int, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(f"{width}x{height}", max_pixels)
    if min(width, height) < min_side:
        hint = f"It needs at least {min_side} on each side."
        raise ImageError("too_small", f"The image has {width}x{height} pixels.", hint=hint)


def _too_large(size: str, max_pixels: int) -> ImageError:
    hint = f"It may have at most {max_pixels:,}; scale it down first."
    return ImageError("too_large", f"The image has {size} pixels.", hint=hint)


def _decode(image: Image.Image) -> Pixels:
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # in place: it copies even what is upright
        return np.asarray(_to_rgb(image), dtype=np.uint8)
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error
        status = "truncated" if "truncated" in str(error).lower() else "corrupt"
        hint = "Copy or download it again."
        raise ImageError(status, f"The image data is damaged: {_clause(error)}.", hint=hint) from error


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
