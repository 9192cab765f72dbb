"""Whether a detected face stands upright, and by which quarter turns it does."""

from itertools import product
from math import log

import cv2
import numpy as np

from threeages.faces.crop import Box, Face, Landmarks, crop_box
from threeages.faces.images import Pixels

# What the detector reports of a face that lies on its side or on its head is drawn as an upright face, but
# with a lower score, a wider box and a lower mouth. results/turned.csv holds the share of faces beyond it.
MIN_UPRIGHT = 0.832
ASPECT_WEIGHT, EYES_WEIGHT, MOUTH_WEIGHT = 0.0655, 0.018, 0.117
MAX_OUTSIDE = 0.1  # of the box's longer side by which a landmark may lie outside of it
# The face turned four ways, side by side in one image: one run of the detector compares them. Where the small
# tiles do not settle it, larger ones do, which cost three times as much.
TILE_SIDES = (56, 112)
TILE_GAP, TILE_GROWTH = 16, 1.5
TILE_MIN_SCORE = 0.1
MAX_OFF_CENTRE = 0.25  # of the tile's side that a face may lie off the tile's centre
MIN_UPRIGHT_TILE, MIN_TURNED_TILE = 0.4, 0.84  # score of the best turn in small tiles that settles it
MIN_TILE_LEAD = 0.15  # of that score over the second
MIN_TURNED_SCORE = 0.8  # of the best turn in large tiles
MIN_LEAD = 0.05  # of the sum of the best turn's two scores over the second
MIN_SCORE_AND_LEAD = 0.98  # of both together: a good score needs less of a lead
MIN_DOUBTFUL_TILE = 0.5  # score of the best turn in small tiles for a face that the detector doubts
MAX_LEAD = 0.5  # of the best turn over the face as it is: beyond it the face as it is gets no answer
GREY = 128


def is_plausible(face: Face) -> bool:
    """Whether score and geometry are those of an upright face: eyes above the mouth, points in the box.

    True for a face without landmarks, about which nothing is known.
    """
    if face.landmarks is None:
        return True
    (x1, y1, x2, y2), heights = face.box, face.landmarks[:, 1].tolist()
    eyes, mouth = (((heights[i] + heights[i + 1]) / 2 - y1) / (y2 - y1) for i in (0, 3))
    aspect = log((x2 - x1) / (y2 - y1))
    score = face.score - ASPECT_WEIGHT * aspect - EYES_WEIGHT * eyes - MOUTH_WEIGHT * mouth
    return score >= MIN_UPRIGHT and eyes < mouth and outside_share(face.box, face.landmarks) <= MAX_OUTSIDE


def outside_share(box: Box, points: Landmarks) -> float:
    """How far the farthest of points `(n, 2)` lies outside a box, as a share of its longer side."""
    x1, y1, x2, y2 = box
    beyond: float = max(max(x1 - x, y1 - y, x - x2, y - y2) for x, y in points.tolist())
    return max(beyond, 0.0) / max(x2 - x1, y2 - y1)


def tile_turns(pixels: Pixels, face: Face, side: int) -> Pixels:
    """The face of a uint8 RGB image in its four turns, each a tile of `side` pixels of a grey square."""
    tile = _cut_square(pixels, face.box, side)
    board = np.full((2 * side + TILE_GAP, 2 * side + TILE_GAP, 3), GREY, dtype=np.uint8)
    for turns, (top, left) in enumerate(product((0, side + TILE_GAP), repeat=2)):
        board[top : top + side, left : left + side] = np.rot90(tile, turns)
    return board


def tile_scores(faces: list[Face], side: int) -> list[float]:
    """The best score in the middle of each of the four tiles, in the order of the turns; 0 for none."""
    scores, step = [0.0] * 4, side + TILE_GAP
    for face in faces:
        x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
        column, row = int(x // step), int(y // step)
        off = max(abs(x - column * step - side / 2), abs(y - row * step - side / 2))
        if off <= MAX_OFF_CENTRE * side:
            scores[2 * row + column] = max(scores[2 * row + column], face.score)
    return scores


def settles(scores: list[float]) -> bool:
    """Whether the scores of the small tiles say which turn is upright."""
    best, second = _rank(scores)
    enough = MIN_TURNED_TILE if best else MIN_UPRIGHT_TILE
    return scores[best] >= max(enough, scores[second] + MIN_TILE_LEAD)


def choose_turns(small: list[float], large: list[float]) -> int | None:
    """Quarter turns of the best score; 0 where no turn is clearly better, None where no turn can be chosen.

    `small` and `large` are the scores of the tiles of both sizes. None is given where a turn is far better
    than the face as it is, but not good enough to be sure of, or hardly better than another turn.
    """
    scores = [a + b for a, b in zip(small, large, strict=True)]
    best, second = _rank(scores)
    if best == 0:
        return 0
    lead = scores[best] - scores[second]
    if large[best] >= max(MIN_TURNED_SCORE, MIN_SCORE_AND_LEAD - lead) and lead >= MIN_LEAD:
        return best
    return None if large[best] >= large[0] + MAX_LEAD else 0


def _rank(scores: list[float]) -> tuple[int, int]:
    """The turns of the best and of the second score."""
    order = sorted(range(4), key=lambda turns: -scores[turns])
    return order[0], order[1]


def _cut_square(pixels: Pixels, box: Box, side: int) -> Pixels:
    """The square around the centre of a box, grown, at `side` pixels; grey where it leaves the image."""
    x1, y1, x2, y2 = box
    half = TILE_GROWTH * max(x2 - x1, y2 - y1) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    part = crop_box(pixels, Face((x - half, y - half, x + half, y + half), 0.0), 0.0)
    scale = side / (2 * half)
    width, height = (min(max(1, round(n * scale)), side) for n in (part.shape[1], part.shape[0]))
    # halving by bilinear samples averages pixels as area averaging does, in a tenth of its time
    for factor, method in ((4, cv2.INTER_NEAREST), (2, cv2.INTER_LINEAR), (1, cv2.INTER_LINEAR)):
        if factor == 1 or min(part.shape[:2]) > factor * max(width, height):
            size = (factor * width, factor * height)
            part = np.asarray(cv2.resize(part, size, interpolation=method), dtype=np.uint8)
    tile = np.full((side, side, 3), GREY, dtype=np.uint8)
    left, top = (min(max(round((half - c) * scale), 0), side - n) for c, n in ((x, width), (y, height)))
    tile[top : top + height, left : left + width] = part
    return tile
