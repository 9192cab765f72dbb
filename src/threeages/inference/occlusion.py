"""What counted for an answer: how much the probability falls when a patch of the face is covered.

Occlusion (Zeiler and Fergus, 2014) asks only the model itself, so it works for every model, without torch.
"""

import io
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from threeages.faces.images import Pixels

CELLS = 8  # on each side; a patch covers a cell and half of each neighbour, or small ones would not count


def cover_patches(pixels: Pixels) -> list[Pixels]:
    """Copies of a face crop `(size, size, 3)`, one a cell row by row, a patch of each in the mean colour."""
    size = len(pixels)
    edges = np.linspace(0, size, CELLS + 1)
    half = size / CELLS / 2
    grey = pixels.mean(axis=(0, 1)).astype(np.uint8)
    spans = [
        slice(max(round(start - half), 0), round(stop + half)) for start, stop in itertools.pairwise(edges)
    ]
    copies = []
    for rows in spans:
        for columns in spans:
            copy = pixels.copy()
            copy[rows, columns] = grey
            copies.append(copy)
    return copies


def fall_grid(whole: float, covered: Sequence[float]) -> tuple[float, list[list[float]]]:
    """The largest fall of the probability from `whole`, and every cell's as a share 0 to 1 of it."""
    falls = np.clip(whole - np.asarray(covered, dtype=np.float64), 0, None).reshape(CELLS, CELLS)
    largest = float(falls.max())
    return round(largest, 6), np.round(falls / max(largest, 1e-6), 3).tolist()


def to_png(pixels: Pixels) -> bytes:
    """The crop as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
