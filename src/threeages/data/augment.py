"""Augmented copies of faces for training: moved, mirrored and degraded as faces of poor photos are.

The geometry follows the usual recipe of affine jitter; the degradations (fewer pixels, blur, JPEG, colour and
light) are those between a studio portrait and a frame of a film.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.data.augmentation import Augmentation
from threeages.faces.crop import Face, Landmarks, align_crop, whole_image
from threeages.faces.images import Pixels, resize

PLAIN, WHOLE = 0, 1  # the copy as in use with a detector, and without one; every further copy is augmented

Random = np.random.Generator


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
    if rng.random() < augmentation.whole_degrade:
        pixels = degrade(pixels, augmentation, rng)
    return _mirror(pixels, augmentation, rng)


def random_affine(
    pixels: Pixels, augmentation: Augmentation, rng: Random
) -> tuple[Pixels, NDArray[np.float32]]:
    """A square crop turned, zoomed, shifted and perhaps mirrored, and the transform that does it.

    The transform `(2, 3)` takes a point (x, y, 1) of the result to one of the crop, both from -1 to 1 along
    each side, as torch's affine_grid does.
    """
    factor = _random_rotation(augmentation, rng)
    mirror = -1 if rng.random() < augmentation.mirror else 1
    turned = np.array([[factor.real * mirror, -factor.imag], [factor.imag * mirror, factor.real]])
    shift = rng.uniform(-augmentation.crop_shift, augmentation.crop_shift, 2)
    side = pixels.shape[0]
    middle = (side - 1) / 2
    in_pixels = np.column_stack([turned, shift * side / 2 + middle - turned.sum(axis=1) * middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(pixels, in_pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return _to_pixels(moved), np.column_stack([turned, shift]).astype(np.float32)


def degrade(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    """Fewer pixels, blur, JPEG's blocks, other colours and light, each with its probability."""
    if rng.random() < augmentation.resize:
        pixels = _resize_and_back(pixels, augmentation, rng)
    if rng.random() < augmentation.blur:
        pixels = _to_pixels(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(*augmentation.blur_sigma)))
    if rng.random() < augmentation.jpeg:
        quality = int(rng.integers(*augmentation.jpeg_quality))
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = _to_pixels(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return _change_colors(pixels, augmentation, rng)


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
    return _to_pixels(framed), border


def _random_rotation(augmentation: Augmentation, rng: Random) -> complex:
    """The complex number that turns and zooms points it is multiplied with."""
    scale = rng.uniform(-augmentation.log_scale, augmentation.log_scale)
    angle = np.deg2rad(augmentation.rotation)
    return complex(np.exp(complex(scale, rng.uniform(-angle, angle))))


def _mirror(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    return pixels[:, ::-1] if rng.random() < augmentation.mirror else pixels


def _resize_and_back(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    side = pixels.shape[0]
    small = round(float(np.exp(rng.uniform(*np.log(augmentation.resize_side)))))
    back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return _to_pixels(cv2.resize(resize(pixels, small), (side, side), interpolation=back))


def _change_colors(pixels: Pixels, augmentation: Augmentation, rng: Random) -> Pixels:
    values: NDArray[np.floating] = pixels.astype(np.float32)
    kind = rng.random()
    if kind < augmentation.grey:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    elif kind < augmentation.grey + augmentation.color_cast:
        values = values * rng.uniform(*augmentation.color_gain, (1, 1, 3))
    if rng.random() < augmentation.light:
        values = (values - 128) * rng.uniform(*augmentation.contrast) + 128
        values = values + rng.uniform(*augmentation.brightness)
    return values.clip(0, 255).astype(np.uint8)


def _to_pixels(values: object) -> Pixels:
    return np.asarray(values, dtype=np.uint8)
