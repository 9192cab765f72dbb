"""A second look, by overlapping tiles, at a photo that shows many small faces."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil

import numpy as np

from threeages.faces.crop import Box, Face, intersection, turn_face, turn_image
from threeages.faces.detect import MAX_SHARED, Detector
from threeages.faces.images import Pixels

LOOK_SIDE = 640  # pixels of the longer side at which the detector sees a whole photo, or a tile
MIN_CROWD_SIDE = 1.5 * LOOK_SIDE  # pixels of a photo's longer side; a tile of a smaller one shows no more
MIN_CROWD_SCORE = 0.3  # of a small face that counts
MIN_CROWD = 4  # small faces, doubtful ones included, from which on a photo is a crowd
SMALL_FACE = 24  # pixels of a face's shorter side when the photo is seen at LOOK_SIDE
TILE_FACE = 24  # pixels that the typical small face is to have in its tile
MIN_TILES_SIDE, MAX_TILES = 480, 24  # pixels of the smallest tile; most tiles of a photo
OVERLAP_FACES = 2.5  # overlap of two tiles in typical small faces, so that each face is whole in one of them


def small_face_side(faces: Sequence[Face], longer: int) -> float:
    """The lower quartile of the small faces' shorter sides, for an image of `longer` pixels; 0 for no crowd.

    It is in pixels of the image. `faces` may hold doubtful ones; those below MIN_CROWD_SCORE do not count.
    """
    limit = SMALL_FACE * longer / LOOK_SIDE
    small = [face.shorter for face in faces if face.shorter < limit and face.score >= MIN_CROWD_SCORE]
    return float(np.percentile(small, 25)) if len(small) >= MIN_CROWD else 0.0


def find_in_tiles(pixels: Pixels, detector: Detector, known: Sequence[Face], side: float) -> list[Face]:
    """The faces of a crowd in a uint8 RGB image `(height, width, 3)`, the largest first.

    `known` are the faces of the normal look and `side` is `small_face_side`, both in pixels of this image.
    Tiles are looked at in the turn that most of the known faces have. A face that an inner edge of a tile
    cuts is left to the next tile; of faces that overlap, the small ones are taken from the tiles.
    """
    turns = Counter(face.turns or 0 for face in known).most_common(1)[0][0] if known else 0
    image = turn_image(pixels, turns)
    height, width = image.shape[:2]
    tiled: list[Face] = []
    for box in tile_boxes(width, height, side):
        left, top, right, bottom = box
        for face in detector.detect(image[top:bottom, left:right]):
            moved = _move(face, left, top)
            if not _is_cut(moved.box, box, width, height):
                tiled.append(turn_face(moved, -turns, width, height))
    large = [face for face in known if face.shorter > OVERLAP_FACES * side]
    others = [face for face in known if face.shorter <= OVERLAP_FACES * side]
    ordered = [*large, *sorted(tiled, key=lambda face: -face.score), *others]
    return sorted(_merge(ordered), key=lambda face: face.area, reverse=True)


def tile_boxes(width: int, height: int, side: float) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the overlapping tiles in which a face of `side` has TILE_FACE pixels."""
    tile = max(LOOK_SIDE * side / TILE_FACE, MIN_TILES_SIDE)
    overlap = OVERLAP_FACES * side
    while True:
        columns, rows = (max(1, ceil((n - overlap) / max(tile - overlap, 1))) for n in (width, height))
        if columns * rows <= MAX_TILES:
            break
        tile *= 1.1
    for top, bottom in _spans(height, rows, overlap):
        for left, right in _spans(width, columns, overlap):
            yield left, top, right, bottom


def _spans(length: int, n: int, overlap: float) -> list[tuple[int, int]]:
    """`n` equal spans of whole pixels that cover `length` and overlap."""
    size = (length + (n - 1) * overlap) / n
    starts = [i * (size - overlap) for i in range(n)]
    return [(round(start), min(round(start + size), length)) for start in starts]


def _move(face: Face, left: int, top: int) -> Face:
    x1, y1, x2, y2 = face.box
    landmarks = None if face.landmarks is None else face.landmarks + np.array([left, top], dtype=np.float32)
    return replace(face, box=(x1 + left, y1 + top, x2 + left, y2 + top), landmarks=landmarks)


def _is_cut(box: Box, tile: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Whether an edge of the tile that is not an edge of the image cuts the box."""
    inner = (tile[0] > 0, tile[1] > 0, tile[2] < width, tile[3] < height)
    gaps = (box[0] - tile[0], box[1] - tile[1], tile[2] - box[2], tile[3] - box[3])
    return any(cuts and gap <= 1 for cuts, gap in zip(inner, gaps, strict=True))


def _merge(faces: Sequence[Face]) -> list[Face]:
    """The faces without those that share much of the smaller box with one before them."""
    kept: list[Face] = []
    boxes = np.empty((0, 4))
    for face in faces:
        if len(kept):
            width = np.minimum(boxes[:, 2], face.box[2]) - np.maximum(boxes[:, 0], face.box[0])
            height = np.minimum(boxes[:, 3], face.box[3]) - np.maximum(boxes[:, 1], face.box[1])
            near = np.flatnonzero((width > 0) & (height > 0))
            if any(_same(face, kept[i]) for i in near):
                continue
        kept.append(face)
        boxes = np.vstack([boxes, face.box])
    return kept


def _same(face: Face, other: Face) -> bool:
    return intersection(face.box, other.box) > MAX_SHARED * min(face.area, other.area)
