"""Faces drawn on an image: a box each, with the age group, its confidence and the age, or the status."""

from collections.abc import Sequence

import cv2

from threeages.faces.images import Pixels
from threeages.inference.records import Record
from threeages.labels import AGE_GROUP_COLORS

GREY = (158, 158, 158)
COLORS = {group: tuple(bytes.fromhex(color[1:])) for group, color in AGE_GROUP_COLORS.items()}  # RGB


def draw_faces(pixels: Pixels, records: Sequence[Record]) -> Pixels:
    """A copy of uint8 RGB pixels `(height, width, 3)` with the box and the caption of every face.

    Boxes are in pixels of the image; a record without a box is not drawn.
    """
    annotated = pixels.copy()
    scale = max(pixels.shape[:2]) / 640
    thickness = max(1, round(2 * scale))
    for record in records:
        if record.box is None:
            continue
        x1, y1, x2, y2 = record.box
        color = COLORS.get(record.age_group or "", GREY)
        cv2.rectangle(annotated, (x1, y1), (x2, y2), color, thickness)
        below = min(y1 + round(16 * scale), pixels.shape[0] - 2)
        place = (x1 + thickness, y1 - 4 if y1 > 20 * scale else below)
        cv2.putText(
            annotated, _caption(record), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, color, thickness
        )
    return annotated


def _caption(record: Record) -> str:
    if record.age_group is None or record.confidence is None:
        return record.status.replace("_", " ")
    years = "" if record.age is None else f", {record.age:.0f} years"
    return f"{record.age_group} {record.confidence:.0%}{years}"
