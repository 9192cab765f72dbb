"""Degradation of faces: what is drawn for an image, and what that does to its pixels.

Drawing and applying are two steps, so that a device that degrades whole batches (training.device_augment)
does with the same draws what is done here to one image.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.data.augmentation import Augmentation
from threeages.faces.images import Pixels, resize

Random = np.random.Generator


@dataclass(frozen=True)
class Degradation:
    """What happens to one image; None and False leave it as it is."""

    side: int | None = None  # pixels of the image in between
    enlarging: int = cv2.INTER_LINEAR  # how it gets its size back
    sigma: float | None = None  # pixels, of the blur
    quality: int | None = None  # of JPEG
    grey: bool = False
    gain: NDArray[np.float64] | None = None  # (3,) of the channels
    light: tuple[float, float] | None = None  # contrast and brightness


def draw_degradation(augmentation: Augmentation, rng: Random) -> Degradation:
    """Each kind of degradation with its probability."""
    side, enlarging = None, cv2.INTER_LINEAR
    if rng.random() < augmentation.resize:
        side = round(float(np.exp(rng.uniform(*np.log(augmentation.resize_side)))))
        enlarging = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    sigma = rng.uniform(*augmentation.blur_sigma) if rng.random() < augmentation.blur else None
    quality = int(rng.integers(*augmentation.jpeg_quality)) if rng.random() < augmentation.jpeg else None
    kind, gain = rng.random(), None
    grey = kind < augmentation.grey
    if not grey and kind < augmentation.grey + augmentation.color_cast:
        gain = rng.uniform(*augmentation.color_gain, 3)
    light = None
    if rng.random() < augmentation.light:
        light = rng.uniform(*augmentation.contrast), rng.uniform(*augmentation.brightness)
    return Degradation(side, enlarging, sigma, quality, grey, gain, light)


def apply_degradation(pixels: Pixels, drawn: Degradation) -> Pixels:
    """Fewer pixels, blur, JPEG's blocks, other colours and light of a square image, as drawn."""
    if drawn.side is not None:
        size = pixels.shape[1::-1]
        small = resize(pixels, drawn.side)
        pixels = to_pixels(cv2.resize(small, size, interpolation=drawn.enlarging))
    if drawn.sigma is not None:
        pixels = to_pixels(cv2.GaussianBlur(pixels, (0, 0), drawn.sigma))
    if drawn.quality is not None:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, drawn.quality])
        pixels = to_pixels(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return _change_colors(pixels, drawn)


def _change_colors(pixels: Pixels, drawn: Degradation) -> Pixels:
    values: NDArray[np.floating] = pixels.astype(np.float32)
    if drawn.grey:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if drawn.gain is not None:
        values = values * drawn.gain
    if drawn.light is not None:
        contrast, brightness = drawn.light
        values = (values - 128) * contrast + 128
        values = values + brightness
    return values.clip(0, 255).astype(np.uint8)


def to_pixels(values: object) -> Pixels:
    """What OpenCV gives back, as the type of images."""
    return np.asarray(values, dtype=np.uint8)
