"""Faces drawn on an image: a box each, with the age group, its confidence and the age, or the status."""

from collections.abc import Sequence

import cv2

from threeages.faces.images import Pixels
from threeages.inference.records import Record
from threeages.labels import AGE_GROUP_COLORS

GREY, WHITE = (110, 110, 110), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
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
        _write_caption(annotated, _caption(record), record.box, color, scale)
    return annotated


def _write_caption(
    pixels: Pixels, text: str, box: tuple[int, int, int, int], color: tuple[int, ...], scale: float
) -> None:
    """White text on a filled band above the box, or inside it at the top edge; never beyond the sides."""
    size, weight = 0.5 * scale, max(1, round(1.3 * scale))
    (width, height), base = cv2.getTextSize(text, FONT, size, weight)
    x = max(0, min(box[0], pixels.shape[1] - width - 2 * base))
    top = box[1] - height - 2 * base
    top = top if top >= 0 else max(0, box[1])
    cv2.rectangle(pixels, (x, top), (x + width + 2 * base, top + height + 2 * base), color, cv2.FILLED)
    cv2.putText(pixels, text, (x + base, top + height + base), FONT, size, WHITE, weight, cv2.LINE_AA)


def _caption(record: Record) -> str:
    if record.age_group is None or record.confidence is None:
        return record.status.replace("_", " ")
    years = "" if record.age is None else f", {record.age:.0f} years"
    return f"{record.age_group} {record.confidence:.0%}{years}"
