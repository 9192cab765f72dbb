"""Augmented copies of faces for training: moved, mirrored and degraded as faces of poor photos are.

The geometry follows the usual recipe of affine jitter; the degradations (fewer pixels, blur, JPEG, colour and
light) are those between a studio portrait and a frame of a film.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.data.augmentation import Augmentation
from threeages.data.degradation import Degradation, Random, apply_degradation, draw_degradation, to_pixels
from threeages.faces.crop import Face, Landmarks, align_crop, whole_image
from threeages.faces.images import Pixels

PLAIN, WHOLE = 0, 1  # the copy as in use with a detector, and without one; every further copy is augmented


def create_copy(
    pixels: Pixels,
    face: Face,
    copy: int,
    row: int,
    size: int,
    *,
    margin: float,
    alignment: float,
    augmentation: Augmentation,
) -> Pixels:
    """Copy number `copy` of the face in an image, uint8 RGB `(size, size, 3)`; the same at every call.

    Copy 0 is the crop that the model is given in use, copy 1 the whole image as it is given without a
    detector, further ones are augmented crops. `row` seeds the randomness, so that images differ.
    """
    if copy == PLAIN:
        return align_crop(pixels, face, size, margin=margin, alignment=alignment)
    rng = np.random.default_rng((augmentation.seed, row, copy))
    if copy == WHOLE:
        return augment_whole(align_crop(pixels, whole_image(pixels), size), augmentation, rng)
    moved = _move_landmarks(face, augmentation, rng)
    pixels, moved = _move_box(pixels, moved, augmentation, rng)
    crop = align_crop(pixels, moved, size, margin=margin, alignment=alignment)
    return _mirror(degrade(crop, augmentation, rng), augmentation, rng)


def augment_whole(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    """A whole image, degraded and mirrored each with its probability."""
    return apply_drawn(pixels, draw_whole(augmentation, rng))


@dataclass(frozen=True)
class Drawn:
    """What happens to one image while training, in this order; a crop is moved, a whole image mirrored."""

    transform: NDArray[np.float64] | None = None  # (2, 3), see draw_affine; None of a whole image
    degradation: Degradation | None = None
    mirror: bool = False


def draw_image(augmentation: Augmentation, rng: Random) -> Drawn:
    """What happens to an image that is shown as a moved crop or, with its probability, as a whole."""
    if rng.random() < augmentation.whole_image:
        return draw_whole(augmentation, rng)
    transform = draw_affine(augmentation, rng)
    return Drawn(transform, draw_degradation(augmentation, rng))


def draw_whole(augmentation: Augmentation, rng: Random) -> Drawn:
    """What happens to a whole image."""
    degraded = rng.random() < augmentation.whole_degrade
    degradation = draw_degradation(augmentation, rng) if degraded else None
    return Drawn(None, degradation, rng.random() < augmentation.mirror)


def apply_drawn(pixels: Pixels, drawn: Drawn) -> Pixels:
    """A square uint8 crop or whole image, moved, degraded and mirrored as drawn."""
    if drawn.transform is not None:
        pixels = apply_affine(pixels, drawn.transform)
    if drawn.degradation is not None:
        pixels = apply_degradation(pixels, drawn.degradation)
    return pixels[:, ::-1] if drawn.mirror else pixels


def random_affine(
    pixels: Pixels, augmentation: Augmentation, rng: Random
) -> tuple[Pixels, NDArray[np.float32]]:
    """A square crop turned, zoomed, shifted and perhaps mirrored, and the transform that does it.

    The transform `(2, 3)` is that of `draw_affine`.
    """
    transform = draw_affine(augmentation, rng)
    return apply_affine(pixels, transform), transform.astype(np.float32)


def draw_affine(augmentation: Augmentation, rng: Random) -> NDArray[np.float64]:
    """The transform `(2, 3)` of a square crop: turned, zoomed, shifted and perhaps mirrored.

    It takes a point (x, y, 1) of the result to one of the crop, both from -1 to 1 along each side, as torch's
    affine_grid does.
    """
    factor = _random_rotation(augmentation, rng)
    mirror = -1 if rng.random() < augmentation.mirror else 1
    turned = np.array([[factor.real * mirror, -factor.imag], [factor.imag * mirror, factor.real]])
    shift = rng.uniform(-augmentation.crop_shift, augmentation.crop_shift, 2)
    return np.column_stack([turned, shift])


def apply_affine(pixels: Pixels, transform: NDArray[np.float64]) -> Pixels:
    """A square crop moved by a transform `(2, 3)`; beyond its edges it is reflected."""
    side = pixels.shape[0]
    middle = (side - 1) / 2
    turned, shift = transform[:, :2], transform[:, 2]
    in_pixels = np.column_stack([turned, shift * side / 2 + middle - turned.sum(axis=1) * middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(pixels, in_pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return to_pixels(moved)


def degrade(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    """Fewer pixels, blur, JPEG's blocks, other colours and light, each with its probability."""
    return apply_degradation(pixels, draw_degradation(augmentation, rng))


def _move_landmarks(face: Face, augmentation: Augmentation, rng: Random) -> Face:
    """The face with its landmarks turned, zoomed and shifted, which moves the aligned crop."""
    if face.landmarks is None:
        return face
    points = np.asarray(face.landmarks @ (1, 1j), dtype=np.complex128)
    middle = points.mean()
    farthest = augmentation.landmark_shift
    shift = np.abs(points - middle).mean() * complex(*rng.uniform(-farthest, farthest, 2))
    moved = middle + shift + _random_rotation(augmentation, rng) * (points - middle)
    landmarks: Landmarks = np.stack([moved.real, moved.imag], axis=1).astype(np.float32)
    return replace(face, landmarks=landmarks)


def _move_box(pixels: Pixels, face: Face, augmentation: Augmentation, rng: Random) -> tuple[Pixels, Face]:
    """The box with its sides moved; in some images it may reach into a border around them."""
    border = 0
    if rng.random() < augmentation.surround:
        pixels, border = _add_border(pixels, augmentation, rng)
    x1, y1, x2, y2 = face.box
    shifts = rng.uniform(-augmentation.box_shift, augmentation.box_shift, 4)
    box = np.array(face.box) + border + max(x2 - x1, y2 - y1) * shifts
    landmarks = None if face.landmarks is None else face.landmarks + np.float32(border)
    return pixels, replace(face, box=tuple(box.tolist()), landmarks=landmarks)


def _add_border(pixels: Pixels, augmentation: Augmentation, rng: Random) -> tuple[Pixels, int]:
    """The image inside a border, mirrored or of blots of colour, and the border's width in pixels."""
    border = 1 + round(2 * augmentation.box_shift * max(pixels.shape[:2]))
    framed = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REFLECT)
    if rng.random() < augmentation.surround_colors:
        blots = rng.uniform(0, 255, 3) + rng.normal(0, 60, (*rng.integers(1, 16, 2), 3))
        around = cv2.resize(blots, framed.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255)
        around[border:-border, border:-border] = pixels
        framed = around
    return to_pixels(framed), border


def _random_rotation(augmentation: Augmentation, rng: Random) -> complex:
    """The complex number that turns and zooms points it is multiplied with."""
    scale = rng.uniform(-augmentation.log_scale, augmentation.log_scale)
    angle = np.deg2rad(augmentation.rotation)
    return complex(np.exp(complex(scale, rng.uniform(-angle, angle))))


def _mirror(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    return pixels[:, ::-1] if rng.random() < augmentation.mirror else pixels
