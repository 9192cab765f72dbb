"""Views of a face for training: as in use, whole, and turned, shifted and spoiled as poor photos are."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.crop import Face, Landmarks, align_crop, whole_image
from threeages.faces.images import Pixels, resize

PLAIN, WHOLE = 0, 1  # the view of use with a detector, and without; every further one is drawn
SEED = 7
TURN, ZOOM = np.deg2rad(10), 0.15  # radians; log of a factor
SHIFT = 0.25  # of the landmarks' mean distance from their middle: 5 % of the cut's side
DRIFT = 0.1  # of half a cut's side, which is that again
FRAMED = 0.12  # of the box's longer side: how far each of its sides lies elsewhere, in or out
SURROUNDED = 0.5  # share of the drawn views in which it may reach into other surroundings
MIRRORED = 0.5
SPOILED = 0.5  # share of the whole views that are spoiled; drawn ones all are

Random = np.random.Generator


def cut_view(
    pixels: Pixels, face: Face, view: int, row: int, size: int, *, margin: float, alignment: float
) -> Pixels:
    """View number `view` of the face in an image, uint8 RGB `(size, size, 3)`; the same at every call.

    `row` names the image among others, so that each is drawn differently.
    """
    if view == PLAIN:
        return align_crop(pixels, face, size, margin=margin, alignment=alignment)
    rng = np.random.default_rng((SEED, row, view))
    if view == WHOLE:
        return vary(align_crop(pixels, whole_image(pixels), size), rng)
    pixels, face = _frame(pixels, _jitter(face, rng), rng)
    moved = align_crop(pixels, face, size, margin=margin, alignment=alignment)
    return _mirror(spoil(moved, rng), rng)


def vary(pixels: Pixels, rng: Random) -> Pixels:
    """Spoiled in some draws, mirrored in some."""
    return _mirror(spoil(pixels, rng) if rng.random() < SPOILED else pixels, rng)


def redraw(pixels: Pixels, rng: Random) -> tuple[Pixels, NDArray[np.float32]]:
    """A square cut turned, zoomed, shifted, mirrored at times and spoiled, and the move that makes it.

    The move `(2, 3)` takes a point (x, y, 1) of the new view to one of the cut, both from -1 to 1 along each
    side (torch's affine_grid).
    """
    turn = _turn(rng)
    mirror = -1 if rng.random() < MIRRORED else 1
    turned = np.array([[turn.real * mirror, -turn.imag], [turn.imag * mirror, turn.real]])
    shift = rng.uniform(-DRIFT, DRIFT, 2)
    side = pixels.shape[0]
    middle = (side - 1) / 2
    in_pixels = np.column_stack([turned, shift * side / 2 + middle - turned.sum(axis=1) * middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(pixels, in_pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return spoil(_pixels(moved), rng), np.column_stack([turned, shift]).astype(np.float32)


def spoil(pixels: Pixels, rng: Random) -> Pixels:
    """Some of: fewer pixels, blur, JPEG's blocks, grey or a cast of colour, other light.

    The film faces' median side is 75 pixels, UTKFace's 200, and cameras in use lie anywhere between.
    """
    if rng.random() < 0.6:
        pixels = _coarsen(pixels, rng)
    if rng.random() < 0.25:
        pixels = _pixels(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.8)))
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        pixels = _pixels(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return _tint(pixels, rng)


def _jitter(face: Face, rng: Random) -> Face:
    """The face with its landmarks turned, zoomed and shifted, so that its cut is."""
    if face.landmarks is None:
        return face
    points = np.asarray(face.landmarks @ (1, 1j), dtype=np.complex128)
    middle = points.mean()
    shift = np.abs(points - middle).mean() * complex(*rng.uniform(-SHIFT, SHIFT, 2))
    moved = middle + shift + _turn(rng) * (points - middle)
    landmarks: Landmarks = np.stack([moved.real, moved.imag], axis=1).astype(np.float32)
    return replace(face, landmarks=landmarks)


def _frame(pixels: Pixels, face: Face, rng: Random) -> tuple[Pixels, Face]:
    """The box as a detector may find it in a photo: its sides moved, and strips of the photo in it.

    The training sets' images are boxes of their own kinds: in a photo the detector's lies by a median of 11 %
    above the top of UTKFace's, and by 3 to 7 % off the film faces' on each side in half of the cases.
    """
    pixels, shift = _surround(pixels, rng) if rng.random() < SURROUNDED else (pixels, 0)
    x1, y1, x2, y2 = face.box
    box = np.array(face.box) + shift + max(x2 - x1, y2 - y1) * rng.uniform(-FRAMED, FRAMED, 4)
    landmarks = None if face.landmarks is None else face.landmarks + np.float32(shift)
    return pixels, replace(face, box=tuple(box.tolist()), landmarks=landmarks)


def _surround(pixels: Pixels, rng: Random) -> tuple[Pixels, int]:
    """The image inside a border, mirrored or of blots of colour, and the border's width."""
    border = 1 + round(2 * FRAMED * max(pixels.shape[:2]))
    framed = cv2.copyMakeBorder(pixels, border, border, border, border, cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        blots = rng.uniform(0, 255, 3) + rng.normal(0, 60, (*rng.integers(1, 16, 2), 3))
        around = cv2.resize(blots, framed.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255)
        around[border:-border, border:-border] = pixels
        framed = around
    return _pixels(framed), border


def _turn(rng: Random) -> complex:
    """What a view's points are multiplied by: it turns and zooms them."""
    return complex(np.exp(complex(rng.uniform(-ZOOM, ZOOM), rng.uniform(-TURN, TURN))))


def _mirror(pixels: Pixels, rng: Random) -> Pixels:
    return pixels[:, ::-1] if rng.random() < MIRRORED else pixels


def _coarsen(pixels: Pixels, rng: Random) -> Pixels:
    side = pixels.shape[0]
    small = round(float(np.exp(rng.uniform(np.log(20), np.log(110)))))
    back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return _pixels(cv2.resize(resize(pixels, small), (side, side), interpolation=back))


def _tint(pixels: Pixels, rng: Random) -> Pixels:
    values: NDArray[np.floating] = pixels.astype(np.float32)
    kind = rng.random()
    if kind < 0.12:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    elif kind < 0.4:
        values = values * rng.uniform(0.8, 1.2, (1, 1, 3))
    if rng.random() < 0.7:
        values = (values - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-30, 30)
    return values.clip(0, 255).astype(np.uint8)


def _pixels(values: object) -> Pixels:
    return np.asarray(values, dtype=np.uint8)
