"""Answers that never look at age: whoever scores high with them was told who is shown, or where."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from threeages.labels import AGE_GROUPS

Rows = NDArray[np.int64]
Probs = NDArray[np.float64]

_BLOCK = 4096  # train rows compared at a time: bounds the memory
_PIXEL_SIDE = 16  # pixels of the small images that are compared
_LEVELS = 8  # of each channel of a color histogram


def answer_majority(keys: Sequence[NDArray[np.str_]], labels: Rows, train: Rows, test: Rows) -> Probs:
    """For each test row the most frequent label among the train rows with the same cells; probs `(k, 3)`.

    `keys` are columns `(n,)`, the broadest first. A row whose cells in all of them no train row has is
    answered by the columns before the last one, and so on; in the end by the most frequent label of all.
    """
    answers = np.full(len(test), np.bincount(labels[train], minlength=len(AGE_GROUPS)).argmax())
    codes = np.zeros(len(labels), dtype=np.int64)
    for cells in keys:
        numbers = np.unique(cells, return_inverse=True)[1]
        codes = np.unique(codes * (int(numbers.max()) + 1) + numbers, return_inverse=True)[1]
        counts = np.zeros((int(codes.max()) + 1, len(AGE_GROUPS)), dtype=np.int64)
        np.add.at(counts, (codes[train], labels[train]), 1)
        found = counts[codes[test]]
        known = (found.sum(axis=1) > 0) & (cells[test] != "")
        answers = np.where(known, found.argmax(axis=1), answers)
    return _one_hot(answers)


def answer_nearest(
    vectors: NDArray[np.generic],
    labels: Rows,
    train: Rows,
    test: Rows,
    *,
    apart: NDArray[np.float32] | None = None,
    limit: float = np.inf,
) -> Probs:
    """For each test row the label of the train row that `find_nearest` gives; probs `(k, 3)`."""
    return _one_hot(labels[find_nearest(vectors, train, test, apart=apart, limit=limit)[0]])


def find_nearest(
    vectors: NDArray[np.generic],
    train: Rows,
    test: Rows,
    *,
    apart: NDArray[np.float32] | None = None,
    limit: float = np.inf,
) -> tuple[Rows, NDArray[np.float64]]:
    """For each test row the train row with the nearest vector, of `(n, d)`, and the distance squared `(k,)`.

    With unit vectors `apart` `(n, e)` a train row whose similarity by them to the test row reaches `limit`
    is passed over; where that leaves none, the nearest of all is taken.
    """
    queries = vectors[test].astype(np.float32)
    best, found = np.full(len(test), np.inf), np.full(len(test), train[0])
    for start in range(0, len(train), _BLOCK):
        rows = train[start : start + _BLOCK]
        near = vectors[rows].astype(np.float32)
        distance = (near**2).sum(axis=1) - 2 * queries @ near.T  # less the query's own square
        if apart is not None:
            distance += np.where(apart[test] @ apart[rows].T >= limit, np.float32(1e12), np.float32(0))
        place = distance.argmin(axis=1)
        value = distance[np.arange(len(test)), place]
        found = np.where(value < best, rows[place], found)
        best = np.minimum(best, value)
    return found, best + (queries.astype(np.float64) ** 2).sum(axis=1)


def describe_images(thumbnails: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """What nearest neighbours are looked up by, from thumbnails `(n, side, side, 3)`: a name, vectors."""
    n, side = thumbnails.shape[:2]
    step = side // _PIXEL_SIDE
    parts = (thumbnails[i : i + _BLOCK].reshape(-1, _PIXEL_SIDE, step, _PIXEL_SIDE, step, 3)
             for i in range(0, n, _BLOCK))  # fmt: skip
    small = [part.mean(axis=(2, 4), dtype=np.float32).astype(np.uint8) for part in parts]
    yield f"nearest {_PIXEL_SIDE}x{_PIXEL_SIDE} pixels", np.concatenate(small).reshape(n, -1)
    yield "nearest color histogram", _count_colors(thumbnails)


def _count_colors(thumbnails: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Square roots of the shares of the colors `(n, 512)`: their distance is Hellinger's."""
    n, pixels = len(thumbnails), int(np.prod(thumbnails.shape[1:3]))
    found = np.empty((n, _LEVELS**3), dtype=np.float16)
    for start in range(0, n, _BLOCK):
        levels = thumbnails[start : start + _BLOCK].reshape(-1, pixels, 3) // (256 // _LEVELS)
        cells = levels.astype(np.int64) @ (_LEVELS**2, _LEVELS, 1)
        cells += np.arange(len(cells))[:, None] * _LEVELS**3
        counts = np.bincount(cells.ravel(), minlength=len(cells) * _LEVELS**3)
        found[start : start + _BLOCK] = np.sqrt(counts.reshape(len(cells), -1) / pixels)
    return found


def _one_hot(answers: Rows) -> Probs:
    return np.eye(len(AGE_GROUPS))[answers]
