"""Drawn faces whose age shows: data for the demo and the tests where no data set is given."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from threeages.images import Pixels
from threeages.labels import AgeBounds
from threeages.manifest import CLUSTER, Manifest, save_manifest

DRAWN = 256  # drawn at this size and averaged down, which smooths the edges
AGES = (
    (14, 29),
    (33, 48),
    (55, 85),
)  # years drawn for YOUNG, MIDDLE, OLD: gaps, so that no label is in doubt
SKINS = ((255, 219, 190), (234, 192, 156), (198, 145, 105), (141, 93, 62), (96, 62, 44))
HAIRS = ((35, 25, 20), (90, 56, 30), (150, 100, 55), (205, 165, 100))

Color = tuple[int, int, int]


def draw_face(age: float, identity: int, rng: np.random.Generator, size: int = 96) -> Pixels:
    """uint8 RGB `(size, size, 3)`. `identity` fixes skin, hair and proportions; `age` greys and recedes the
    hair and cuts wrinkles; `rng` moves the head, the light and the background."""
    person = np.random.default_rng(identity)
    skin = _shade(SKINS[person.integers(len(SKINS))], float(person.uniform(0.9, 1.1)))
    grey = float(np.clip((age - 38) / 30, 0, 1))
    hair = _mix(HAIRS[person.integers(len(HAIRS))], (215, 215, 215), grey)
    width, height = int(person.integers(62, 78)), int(person.integers(84, 98))
    spread, eye = int(person.integers(26, 34)), int(person.integers(9, 13))
    x, y = 128 + int(rng.integers(-8, 9)), 138 + int(rng.integers(-8, 9))
    canvas = np.full((DRAWN, DRAWN, 3), rng.integers(60, 200, 3), dtype=np.uint8)
    _ellipse(canvas, (x, y - 12), (width + 12, height + 6), hair)
    _ellipse(canvas, (x, y + int(12 * grey) + 10), (width, height - int(12 * (1 - grey))), skin)
    _ellipse(canvas, (x, y + 30), (width - 2, height - 24), skin)
    for side in (-1, 1):
        _draw_eye(canvas, (x + side * spread, y), eye, hair, side)
    dark = _shade(skin, 0.72)
    cv2.line(canvas, (x, y + 4), (x - 6, y + 32), dark, 3, cv2.LINE_AA)
    cv2.line(canvas, (x - 6, y + 32), (x + 7, y + 33), dark, 3, cv2.LINE_AA)
    cv2.ellipse(canvas, (x, y + 54), (22, 8), 0, 0, 180, _mix(dark, (170, 40, 50), 0.5), 4, cv2.LINE_AA)
    _draw_wrinkles(canvas, (x, y), spread, float(np.clip((age - 28) / 45, 0, 1)), _shade(skin, 0.78))
    lit = canvas.astype(np.float32) * rng.uniform(0.75, 1.15) + rng.normal(0, 5, canvas.shape)
    return np.asarray(
        cv2.resize(lit.clip(0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_AREA)
    )


def write_face_set(
    out: Path, *, people: int = 60, per_person: int = 12, seed: int = 0, size: int = 96
) -> Path:
    """Draw a set into the folder `out` and return its manifest; a set that is there already is kept.

    It is drawn beside `out` and renamed when whole. Each person has one age group, `cluster_id` names them.
    """
    manifest = out / "faces.csv"
    if manifest.exists():
        return manifest
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, str]] = []
    try:
        part.mkdir(parents=True)
        for person in range(people):
            low, high = AGES[person % len(AGES)]
            for i in range(per_person):
                age = int(rng.integers(low, high + 1))
                name = f"{person:03d}-{i:02d}.jpg"
                face = draw_face(age, seed * 10_000 + person, rng, size)
                cv2.imwrite(
                    str(part / name), cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
                )
                rows.append((name, str(age), f"drawn-{person:03d}"))
        names, ages, clusters = zip(*rows, strict=True)
        labels = np.asarray([AgeBounds().label(float(age)) for age in ages], dtype=np.int64)
        columns = {"age": ages, CLUSTER: clusters}
        save_manifest(
            Manifest(out.resolve(), names, labels, columns),
            part / "faces.csv",
            provenance={"source": "drawn"},
        )
        shutil.rmtree(out, ignore_errors=True)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


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
