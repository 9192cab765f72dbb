"""A sheet of the predictions that are worth a look: one HTML file with small pictures of their images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from threeages.data.paths import place_inside
from threeages.data.split import Rows
from threeages.errors import ImageError, format_count
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.tables import load_template
from threeages.evaluation.thumbnails import encode_thumbnail
from threeages.files.writing import write_text
from threeages.labels import AGE_GROUPS

SIDE = 160  # pixels of the longer side of a picture
QUALITY = 85  # of its JPEG


@dataclass(frozen=True)
class WrittenSheet:
    """How many rows a sheet shows, messages about images that cannot be read by path, and the pictures."""

    shown: int
    unreadable: dict[str, str]
    pictures: int = 0


def write_sheet(table: PredictionTable, kinds: Mapping[str, Rows], root: Path, out: Path) -> WrittenSheet:
    """Write the rows of every kind, as `find_extremes` gives them, with their images below `root`.

    An image that cannot be read, or whose path leaves `root`, leaves an empty frame with the reason. The file
    holds faces: it belongs where the images belong. Raises DataError where `out` cannot be written.
    """
    pictures: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for row in dict.fromkeys(int(row) for rows in kinds.values() for row in rows):
        path = table.paths[row]
        try:
            pictures[path] = encode_thumbnail(place_inside(path, root), SIDE, QUALITY)
        except ImageError as error:
            unreadable[path] = error.message
    sections = "\n".join(_section(table, kind, rows, pictures, unreadable) for kind, rows in kinds.items())
    scored = int(table.scored().sum())
    page = load_template("sheet.html").substitute(
        summary=f"Of {format_count(scored, 'prediction')} with a label.", sections=sections
    )
    write_text(out, page)
    return WrittenSheet(sum(len(rows) for rows in kinds.values()), unreadable, len(pictures))


def _section(
    table: PredictionTable,
    kind: str,
    rows: Rows,
    pictures: Mapping[str, str],
    unreadable: Mapping[str, str],
) -> str:
    figures = "\n".join(_figures(table, rows, pictures, unreadable)) or "<p>There are none.</p>"
    return f'<h2>{escape(kind.capitalize())}</h2>\n<div class="faces">\n{figures}\n</div>'


def _figures(
    table: PredictionTable, rows: Rows, pictures: Mapping[str, str], unreadable: Mapping[str, str]
) -> Iterator[str]:
    for row in rows:
        path = table.paths[row]
        answer = int(np.argmax(table.probs[row]))
        label = int(table.labels[row])
        said = f"<b>{AGE_GROUPS[answer]}</b> {table.confidence[row]:.0%}"
        truth = "" if answer == label else f" <span>label {AGE_GROUPS[label]}</span>"
        picture = (
            f'<img alt="" src="{pictures[path]}">'
            if path in pictures
            else f'<p class="none">{escape(unreadable[path])}</p>'
        )
        mark = "hit" if answer == label else "mistake"
        yield (
            f'<figure class="{mark}">{picture}<figcaption>{said}{truth}'
            f"<small>{escape(path)}</small></figcaption></figure>"
        )
