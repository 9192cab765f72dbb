"""Drawn faces that show an age: data for the demo and the tests where no data set is given."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from threeages.data.manifest import IDENTITY, Manifest, save_manifest
from threeages.errors import DataError
from threeages.faces.images import Pixels
from threeages.files.disk import write_error
from threeages.labels import AgeBounds

CANVAS = 256  # pixels; drawn at this size and averaged down, which smooths the edges
AGES = ((14, 29), (33, 48), (55, 85))  # years of YOUNG, MIDDLE, OLD; the gaps keep every label clear
SKINS = ((255, 219, 190), (234, 192, 156), (198, 145, 105), (141, 93, 62), (96, 62, 44))
HAIRS = ((35, 25, 20), (90, 56, 30), (150, 100, 55), (205, 165, 100))

Color = tuple[int, int, int]


def draw_face(age: float, identity: int, rng: np.random.Generator, size: int = 96) -> Pixels:
    """Draw a face of `age` years, uint8 RGB `(size, size, 3)`.

    `identity` fixes skin, hair and proportions; `age` greys and recedes the hair, adds wrinkles, narrows the
    eyes and lets the cheeks sag; `rng` varies pose, light, blur, noise and background.
    """
    traits = np.random.default_rng(identity)
    skin = _shade(SKINS[traits.integers(len(SKINS))], float(traits.uniform(0.9, 1.1)))
    grey, worn = float(np.clip((age - 38) / 30, 0, 1)), float(np.clip((age - 28) / 45, 0, 1))
    hair = _mix(HAIRS[traits.integers(len(HAIRS))], (215, 215, 215), grey)
    width, height = int(traits.integers(62, 78)), int(traits.integers(84, 98))
    spread, eye = int(traits.integers(26, 34)), int(traits.integers(9, 13)) - round(2 * worn)
    long_hair = bool(traits.integers(2))
    x, y = 128 + int(rng.integers(-8, 9)), 138 + int(rng.integers(-8, 9))
    canvas = np.full((CANVAS, CANVAS, 3), rng.integers(100, 180) + rng.integers(-25, 26, 3), dtype=np.uint8)
    if long_hair:
        cv2.rectangle(canvas, (x - width - 12, y - 12), (x + width + 12, y + 74), hair, -1, cv2.LINE_AA)
    cloth = _shade((110, 120, 145), float(traits.uniform(0.5, 1.2)))
    _ellipse(canvas, (x, y + 156), (116, 56), cloth)
    _ellipse(canvas, (x, y + 92), (34, 40), _shade(skin, 0.8))
    _ellipse(canvas, (x, y - 12), (width + 12, height + 6), hair)
    for side in (-1, 1):
        _ellipse(canvas, (x + side * width, y + 12), (9, 17), _shade(skin, 0.9))
    _ellipse(canvas, (x, y + 12 - round(18 * grey)), (width - 2, height - 14), skin)
    _ellipse(canvas, (x, y + 30), (width - 2 + round(4 * worn), height - 24), skin)
    for side in (-1, 1):
        _draw_eye(canvas, (x + side * spread, y), eye, hair, side)
    _draw_nose_and_mouth(canvas, (x, y), skin)
    _draw_wrinkles(canvas, (x, y), spread, worn, _shade(skin, 0.78))
    return _photograph(canvas, rng, size)


def write_face_set(
    out: Path, *, identities: int = 60, per_identity: int = 12, seed: int = 0, size: int = 96
) -> Path:
    """Write a set of drawn faces into the folder `out` and return its manifest `faces.csv`.

    Each identity has one age group and `per_identity` images of `size` pixels on each side. A set that is
    there already is kept; a new one is written beside `out` and renamed when whole. Raises DataError where
    `out` holds other files, which stay untouched, or cannot be written.
    """
    manifest = out / "faces.csv"
    if manifest.exists():
        return manifest
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} holds other files.", hint="Give a new or empty folder for the drawn faces.")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        drawn = _draw_set(part, out.resolve(), identities, per_identity, seed, size)
        save_manifest(drawn, part / manifest.name, provenance={"source": "drawn", "seed": seed})
        if out.is_dir():
            out.rmdir()  # empty, as checked above; Windows renames onto no folder
        part.replace(out)
    except OSError as error:
        if not manifest.exists():  # else another process was first with the same set
            shutil.rmtree(part, ignore_errors=True)
            raise write_error(out, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def _draw_set(
    folder: Path, root: Path, n_identities: int, per_identity: int, seed: int, size: int
) -> Manifest:
    """Write the images into `folder`; the manifest names `root`, their final folder."""
    rng = np.random.default_rng(seed)
    names, ages, identities = [], [], []
    for identity in range(n_identities):
        low, high = AGES[identity % len(AGES)]
        for i in range(per_identity):
            age = int(rng.integers(low, high + 1))
            face = draw_face(age, seed * 10_000 + identity, rng, size)
            names.append(f"{identity:03d}-{i:02d}.jpg")
            Image.fromarray(face).save(folder / names[-1], quality=85)
            ages.append(str(age))
            identities.append(f"drawn-{identity:03d}")
    labels = np.asarray([AgeBounds().label(float(age)) for age in ages], dtype=np.int64)
    return Manifest(root, tuple(names), labels, {"age": tuple(ages), IDENTITY: tuple(identities)})


def _photograph(canvas: Pixels, rng: np.random.Generator, size: int) -> Pixels:
    """Rotate by up to 6 degrees, scale to the final size, then blur, light and add noise."""
    turn = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), float(rng.uniform(-6, 6)), 1.0)
    turned = cv2.warpAffine(canvas, turn, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.2, 0.6)))
    noise = 3 * rng.standard_normal(blurred.shape, dtype=np.float32)
    lit = blurred.astype(np.float32) * float(rng.uniform(0.75, 1.15)) + noise
    return np.asarray(lit.clip(0, 255).astype(np.uint8))


def _draw_nose_and_mouth(canvas: Pixels, at: tuple[int, int], skin: Color) -> None:
    x, y = at
    dark = _shade(skin, 0.72)
    cv2.line(canvas, (x, y + 4), (x - 6, y + 32), dark, 3, cv2.LINE_AA)
    cv2.line(canvas, (x - 6, y + 32), (x + 7, y + 33), dark, 3, cv2.LINE_AA)
    cv2.ellipse(canvas, (x, y + 54), (22, 8), 0, 0, 180, _mix(dark, (170, 40, 50), 0.5), 4, cv2.LINE_AA)


def _draw_eye(canvas: Pixels, at: tuple[int, int], eye: int, hair: Color, side: int) -> None:
    _ellipse(canvas, at, (eye + 4, eye - 3), (245, 245, 240))
    _ellipse(canvas, at, (eye // 2 + 1, eye // 2 + 1), (60, 45, 35))
    x, y = at
    cv2.line(canvas, (x - 16, y - 18 - 2 * side), (x + 16, y - 18 + 2 * side), hair, 5, cv2.LINE_AA)


def _draw_wrinkles(canvas: Pixels, at: tuple[int, int], spread: int, depth: float, color: Color) -> None:
    x, y = at
    for i in range(round(4 * depth)):
        cv2.ellipse(canvas, (x, y - 30 - 9 * i), (34, 4), 0, 190, 350, color, 2, cv2.LINE_AA)
    for side in (-1, 1):
        for i in range(round(3 * depth)):
            start = (x + side * (spread + 17), y - 2 + 5 * i)
            cv2.line(canvas, start, (start[0] + side * 13, start[1] - 5 + 6 * i), color, 2, cv2.LINE_AA)
        if depth > 0.25:
            cv2.line(
                canvas,
                (x + side * 16, y + 32),
                (x + side * 30, y + 52),
                color,
                round(1 + 2 * depth),
                cv2.LINE_AA,
            )
            cv2.ellipse(canvas, (x + side * spread, y + 9), (15, 6), 0, 20, 160, color, 2, cv2.LINE_AA)


def _ellipse(canvas: Pixels, at: tuple[int, int], axes: tuple[int, int], color: Color) -> None:
    cv2.ellipse(canvas, at, axes, 0, 0, 360, color, -1, cv2.LINE_AA)


def _shade(color: Color, factor: float) -> Color:
    return _mix(color, (0, 0, 0), 1 - factor) if factor <= 1 else _mix(color, (255, 255, 255), factor - 1)


def _mix(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(u * (1 - share) + v * share) for u, v in zip(a, b, strict=True))
    return red, green, blue
