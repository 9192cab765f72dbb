"""Maps drawn over the faces that they explain, and several of these in one picture."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels
from threeages.inference.faithfulness import resize_map

TILE = 240  # pixels of a face in a picture
BAND = 44  # pixels of the two lines of text below it
GAP = 8
WHITE, GREY, INK = (255, 255, 255), (128, 128, 128), (31, 41, 55)
FONT = cv2.FONT_HERSHEY_SIMPLEX
OPACITY = 0.65  # of the highest value of a map


def draw_heatmap(pixels: Pixels, values: NDArray[np.float64]) -> Pixels:
    """A copy of a crop, uint8 RGB `(size, size, 3)`, in grey, over which the map glows.

    The map's highest value has the brightest colour; where it is 0 everywhere the crop stays grey. Colours
    are those of matplotlib's inferno, which readers with colour-vision deficiencies can read.
    """
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float64)
    highest = float(values.max())
    share = resize_map(values / highest if highest > 0 else values, len(pixels)).clip(0, 1)
    levels = np.rint(255 * share).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = OPACITY * np.sqrt(share)[..., None]
    glowing: Pixels = np.rint(grey * (1 - opacity) + colors * opacity).astype(np.uint8)
    return glowing


def draw_tile(pixels: Pixels | None, values: NDArray[np.float64], lines: Sequence[str]) -> Pixels:
    """A crop beside its heat map, with up to two lines of text below, other than ASCII as '?'.

    Without a crop the map is drawn alone, on plain grey.
    """
    blank = np.full((TILE, TILE, 3), WHITE, dtype=np.uint8)
    below = np.full((TILE, TILE, 3), GREY, dtype=np.uint8) if pixels is None else pixels
    pair = [blank if pixels is None else _enlarge(pixels), _enlarge(draw_heatmap(below, values))]
    width = 2 * TILE + 3 * GAP
    tile = np.full((TILE + BAND + GAP, width, 3), WHITE, dtype=np.uint8)
    for number, picture in enumerate(pair):
        left = GAP + number * (TILE + GAP)
        tile[GAP : GAP + TILE, left : left + TILE] = picture
    for number, line in enumerate(lines[:2]):
        _write(tile, _shorten(line, width - 2 * GAP), GAP + TILE + 16 + 20 * number)
    return tile


def stack_tiles(tiles: Sequence[Pixels], columns: int = 2) -> Pixels:
    """Tiles of one size in rows of `columns`, as one picture; an empty place is white."""
    columns = min(columns, len(tiles))
    blank = np.full_like(tiles[0], 255)
    padded = [*tiles, *[blank] * (-len(tiles) % columns)]
    rows = [np.hstack(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    return np.vstack(rows)


def _enlarge(pixels: Pixels) -> Pixels:
    method = cv2.INTER_AREA if len(pixels) > TILE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (TILE, TILE), interpolation=method), dtype=np.uint8)


def _shorten(text: str, width: int) -> str:
    """The text without the part at its start for which there is no room."""
    if _measure(text) <= width:
        return text
    while len(text) > 1 and _measure(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"


def _measure(text: str) -> int:
    return int(cv2.getTextSize(text, FONT, 0.45, 1)[0][0])


def _write(tile: Pixels, text: str, line: int) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(tile, plain, (GAP, line), FONT, 0.45, INK, 1, cv2.LINE_AA)
