"""Arrays of any layout and depth as uint8 RGB pixels, or an ImageError that names shape and dtype."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from threeages.errors import ImageError, describe_cause

Pixels = NDArray[np.uint8]
Array = NDArray[Any]

DEPTHS = (8, 10, 12, 14, 16)  # bits a channel of integers: cameras and scanners give all of them
FULL_DEPTH = 32  # of integers that use at least the upper eighth of its bits
MAX_UNIT = 2.0  # floats up to here are from 0 to 1; one of 0 to 255 that ends here would be black
OVERSHOOT = 0.1  # share of the range by which resizing with splines leaves it
LAYOUTS = "uint8 RGB (height, width, 3); also grey, RGBA, channels first, float from 0 to 1 or 0 to 255"


def convert_array(array: Array, *, bgr: bool = False) -> Pixels:
    """Convert an array of one image to contiguous uint8 RGB `(height, width, 3)`.

    It may be `(height, width)`, `(height, width, channels)` or `(channels, height, width)`, behind any number
    of axes of length 1. One channel is grey, two are grey and alpha, three are RGB, four RGBA; alpha lies
    over white. With `bgr` the first three are blue, green, red, as OpenCV has them. The values are bool,
    integers or floats of any depth, see `scale_depth`. Raises ImageError `bad_array` where it is none of
    these or holds values that are not finite. An array that is uint8 RGB already is not copied.
    """
    if array.dtype.kind not in "buif":
        raise _bad(array, "its values are no numbers")
    if not array.size:
        raise _bad(array, "it is empty")
    arranged = _arrange(array)
    try:
        return _to_rgb(arranged, bgr)
    except ValueError as error:
        raise _bad(array, str(error)) from error


def scale_depth(values: Array) -> Pixels:
    """Scale numbers of any depth to uint8 of the same shape, by the largest that is there.

    Bool becomes 0 and 255. Integers have the smallest depth of 8, 10, 12, 14 and 16 bits that holds the
    largest, of which the upper 8 bits are kept; those that fill 32 bits have these. Floats are from 0 to 1
    where the largest is at most MAX_UNIT, else from 0 to 255, or to the largest number of a depth above;
    what lies out of the range by less than OVERSHOOT of it is clipped. Raises ValueError, whose text names
    the values, where nothing fits.
    """
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8, copy=False)
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        return _scale_floats(values)
    low, high = int(values.min()), int(values.max())
    bits = next((bits for bits in DEPTHS if high < 1 << bits), FULL_DEPTH)
    if low < 0 or high >= 1 << FULL_DEPTH or (bits == FULL_DEPTH and high < 1 << (FULL_DEPTH - 8)):
        raise ValueError(f"its values go from {low} to {high}, which is no depth of an image")
    return np.asarray(values >> (bits - 8)).astype(np.uint8)


def lay_over_white(image: Image.Image) -> Image.Image:
    """A Pillow image with an alpha channel or a transparent colour, as RGB over white."""
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _scale_floats(values: Array) -> Pixels:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    ranges = (2.0**bits - 1 for bits in DEPTHS)
    top = 1.0 if high <= MAX_UNIT else next((t for t in ranges if high <= t * (1 + OVERSHOOT)), None)
    if top is None or low < -OVERSHOOT * top:
        raise ValueError(f"its values go from {low:g} to {high:g}, which is no range of an image")
    wide: NDArray[np.floating] = values.astype(np.float64 if values.itemsize > 4 else np.float32)
    scaled = np.rint(wide * (255 / top))
    return np.asarray(scaled.clip(0, 255)).astype(np.uint8)


def _arrange(array: Array) -> Array:
    """The same values as `(height, width, channels)`."""
    image = array
    while image.ndim > 3 and len(image) == 1:
        image = image[0]
    if image.ndim == 2:
        return image[:, :, None]
    if image.ndim != 3:
        several = image.ndim == 4 and image.shape[-1] in (1, 3, 4)
        raise _bad(array, "it holds several images: give them one by one" if several else "it is no image")
    if 1 <= image.shape[-1] <= 4:
        return image
    if image.shape[0] in (1, 3, 4):
        return np.moveaxis(image, 0, -1)
    raise _bad(array, "no axis is one of 1 to 4 channels")


def _to_rgb(image: Array, bgr: bool) -> Pixels:
    """uint8 RGB of numbers `(height, width, channels)`; alpha has a depth of its own."""
    channels = image.shape[-1]
    colors = scale_depth(image if channels in (1, 3) else image[:, :, : channels - 1])
    if bgr and channels >= 3:
        colors = colors[:, :, ::-1]
    if channels in (1, 2):
        colors = np.repeat(colors, 3, axis=2)
    if channels in (2, 4):
        rgba = np.dstack([colors, scale_depth(image[:, :, -1])])
        return np.asarray(lay_over_white(Image.fromarray(rgba)), dtype=np.uint8)
    return np.ascontiguousarray(colors)


def _bad(array: Array, reason: str) -> ImageError:
    message = (
        f"The array of shape {array.shape} and dtype {array.dtype} cannot be used: {describe_cause(reason)}."
    )
    return ImageError("bad_array", message, hint=f"Give {LAYOUTS}.")
