"""Near duplicates: copies that were compressed, resized, brightened, turned grey, mirrored or cropped.

Every image is compared as the low frequencies of a small grey thumbnail. Windows of one image are compared
with another image whole, so that a crop is found beside its original; the window is then fitted before the
two count as near duplicates. results/near-duplicates.csv holds the precision and the recall.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.faces.images import Pixels
from threeages.progress import track_progress

Pairs = NDArray[np.int64]  # (k, 2) rows i < j
Floats = NDArray[np.float32]

SIDE = 32  # pixels of a thumbnail's side
NEAR = 0.99  # similarity of near duplicates, once the window is fitted, in grey and in each color channel
_LOOK = 0.995  # similarity from which, in the search, one image stands for another
GREY_SPREAD = 4.0  # mean difference between the channels below which an image counts as grey
_CANDIDATE = 0.8  # similarity at the nearest window of the grid, before it is fitted
_PROMISING = 0.88  # similarity after the first moves, from which the fit goes on
_STEP, _STEPS = 1 / 12, 3  # the grid of windows: up to three twelfths of a side are cropped
_FIT_STEPS = tuple(_STEP / parts for parts in (2, 2, 4, 4, 8, 8, 16, 16))
_FREQUENCIES, _BINS = 8, 16  # the 8 lowest frequencies of 16 averages along a side of a window
_CELLS_EACH = 2  # cells that an image is listed in; several of its windows lead to one of them
_BLOCK, _PAIRS_BLOCK = 1024, 4096  # images, pairs compared at a time: bounds the memory
_CENTERS = 2  # cells, times the root of the number of images
_HEADS = 64  # rows of a cell that are compared with the others at a time
_ROUNDING = 1e-4  # of a similarity, when many are computed at a time
_CELLS_BLOCK = 8192  # vectors whose cells are found at a time
_LUMINANCE = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
_FLAT = 1e-2  # length of a vector without content: an image of one color is near to nothing

_orders = np.arange(_FREQUENCIES)
_COSINES = np.cos(np.pi * _orders[:, None] * (np.arange(_BINS) + 0.5) / _BINS)
_COSINES[0] /= np.sqrt(2)
# photos hold little of the high frequencies, yet that little tells one face from another
_WEIGHTS = np.sqrt(np.hypot(_orders[:, None], _orders)).ravel()[1:].astype(np.float32)
_MIRROR = np.tile((-1.0) ** _orders, _FREQUENCIES)[1:].astype(np.float32)  # mirrors a vector's image
_SPANS = [(a * _STEP, 1 - b * _STEP) for a in range(_STEPS + 1) for b in range(_STEPS + 1) if a + b <= _STEPS]
_WINDOWS = np.asarray([(*rows, *columns) for rows in _SPANS for columns in _SPANS])  # y1, y2, x1, x2


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of rows `(k, 2)`, `i < j`, near but not exact duplicates, and their similarity `(k,)`."""

    pairs: Pairs
    likeness: Floats


def create_thumbnail(pixels: Pixels) -> Pixels:
    """The uint8 RGB thumbnail `(SIDE, SIDE, 3)` of a uint8 RGB image, by area averaging."""
    return np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def find_near_duplicates(
    thumbnails: Pixels, digests: NDArray[np.uint8], *, progress: bool = False
) -> NearDuplicates:
    """Near duplicates among rows with thumbnails `(n, SIDE, SIDE, 3)` and digests `(n, 16)`, both uint8.

    Of rows with equal digests the first stands for all. Of many images that look alike each is paired with
    the first of them, not with all. The time grows with `n` to the power of 1.5. `progress` shows a bar on
    stderr.
    """
    first = np.sort(np.unique(digests, axis=0, return_index=True)[1])
    if len(first) < 2:
        return NearDuplicates(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32))
    found, likeness = _find_pairs(_Thumbnails(thumbnails, first), progress)
    pairs = np.sort(first[found], axis=1)
    order = np.lexsort((-likeness, pairs[:, 1], pairs[:, 0]))
    best = order[np.unique(pairs[order], axis=0, return_index=True)[1]]
    return NearDuplicates(pairs[best], likeness[best])


def link_rows(n: int, pairs: Pairs) -> NDArray[np.int64]:
    """For each of `n` rows `(n,)` the lowest row that pairs link it with (union-find)."""
    parent = list(range(n))

    def find_root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in pairs.tolist():
        a, b = find_root(i), find_root(j)
        parent[max(a, b)] = min(a, b)
    return np.asarray([find_root(i) for i in range(n)], dtype=np.int64)


def number_pictures(digests: NDArray[np.uint8], near: NearDuplicates) -> NDArray[np.int64]:
    """A number per row `(n,)`, the same for rows that show one picture; splits and audits all go by it.

    Rows show one picture where they are exact or near duplicates, or where others link them: of many images
    that are alike the search pairs each with the first alone. `digests`, uint8 `(n, 16)`, are equal for
    images with identical pixels.
    """
    _, first, inverse = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    equal = np.stack([first[inverse.reshape(-1)], np.arange(len(digests))], axis=1)
    return link_rows(len(digests), np.concatenate([equal, near.pairs]))


def fit_windows(thumbnails: Pixels, pairs: Pairs) -> tuple[NDArray[np.float64], Floats]:
    """For each pair the window of its first image that shows the second, and their similarity.

    Windows are `(k, 5)`: y1, y2, x1, x2 as shares of the sides, and 1 where the second image is mirrored.
    """
    small = _Thumbnails(thumbnails, np.arange(len(thumbnails))).read_grey(slice(None))
    windows, found = np.empty((len(pairs), 5)), np.empty(len(pairs), dtype=np.float32)
    for k, (i, j) in enumerate(pairs.tolist()):
        target = _describe(small[j : j + 1])[0]
        likeness = _describe_windows(small[i : i + 1])[0] @ np.stack([target, target * _MIRROR]).T
        window, mirrored = np.unravel_index(int(likeness.argmax()), likeness.shape)
        goal = target * _MIRROR if mirrored else target
        fitted, best = _fit(small[i : i + 1], goal[None], _WINDOWS[window : window + 1], _FIT_STEPS)
        windows[k], found[k] = (*fitted[0], mirrored), best[0]
    return windows, found


class _Thumbnails:
    """The thumbnails of some rows, read as float32 where they are needed, and which have color."""

    def __init__(self, thumbnails: Pixels, rows: NDArray[np.int64]) -> None:
        self._thumbnails, self._rows = thumbnails, rows
        blocks = (thumbnails[rows[i : i + _BLOCK]] for i in range(0, len(rows), _BLOCK))
        spreads = ((x.max(axis=3) - x.min(axis=3)).reshape(len(x), -1).mean(axis=1) for x in blocks)
        self.colored = np.concatenate([spread >= GREY_SPREAD for spread in spreads])

    def __len__(self) -> int:
        return len(self._rows)

    def read_grey(self, chosen: slice | NDArray[np.int64]) -> Floats:
        """Grey values `(k, SIDE, SIDE)` of these rows."""
        values = self._thumbnails[self._rows[chosen]].astype(np.float32)
        return np.asarray(values @ _LUMINANCE, dtype=np.float32)

    def read_channel(self, channel: int, chosen: slice | NDArray[np.int64]) -> Floats:
        """Values `(k, SIDE, SIDE)` of one color channel of these rows."""
        return self._thumbnails[self._rows[chosen]][..., channel].astype(np.float32)

    def describe(self, channel: int | None = None) -> Floats:
        """Unit vectors `(n, d)` of all rows, of their grey values or of one color channel."""
        blocks = (slice(i, i + _BLOCK) for i in range(0, len(self), _BLOCK))
        if channel is None:
            return np.concatenate([_describe(self.read_grey(block)) for block in blocks])
        return np.concatenate([_describe(self.read_channel(channel, block)) for block in blocks])


def _find_pairs(images: _Thumbnails, progress: bool) -> tuple[Pairs, Floats]:
    """Pairs of different images and their similarity: those of one look, and windows that show another."""
    cells = _Cells(images.describe())
    channels = np.stack([images.describe(channel) for channel in range(3)])
    looks = cells.pair_looks(channels, images.colored)
    del channels
    kept = np.setdiff1d(np.arange(len(images)), looks[0][:, 1])
    parts = [looks, *_find_windows(images, cells, kept, progress)]
    return np.concatenate([pairs for pairs, _ in parts]), np.concatenate([found for _, found in parts])


class _Cells:
    """Vectors `(n, d)`, and their mirror images from row n on, listed in the cells of the nearest centers.

    The centers are about 2 sqrt(n) of the vectors themselves, so a crowded look gets more cells.
    """

    def __init__(self, vectors: Floats) -> None:
        n = len(vectors)
        count = min(n, max(1, int(_CENTERS * np.sqrt(n))))
        self.vectors = np.concatenate([vectors, vectors * _MIRROR])
        self.centers = vectors[np.random.default_rng(0).choice(n, count, replace=False)]
        each = min(_CELLS_EACH, count)
        blocks = (self.vectors[i : i + _CELLS_BLOCK] for i in range(0, 2 * n, _CELLS_BLOCK))
        nearest = np.concatenate(
            [np.argpartition(-(x @ self.centers.T), each - 1, axis=1)[:, :each].ravel() for x in blocks]
        )
        order = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[order], np.arange(1, count))
        self.members = np.split(order // each, bounds)

    def pair_looks(self, channels: Floats, colored: NDArray[np.bool_]) -> tuple[Pairs, Floats]:
        """Pairs (first, later) of the rows that are copies of an earlier one of their cell, not cropped.

        `channels` are the vectors of the three color channels `(3, n, d)`.
        """
        n = len(colored)
        later = np.zeros(n, dtype=bool)
        pairs, found = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)]
        for members in self.members:
            rest = np.sort(members[members < n])
            while len(rest := rest[~later[rest]]) > 1:
                heads = rest[:_HEADS]
                close = self.vectors[heads] @ self.vectors[rest].T >= _LOOK - _ROUNDING
                for place in np.flatnonzero(np.triu(close, 1).any(axis=1)).tolist():
                    others = rest[place + 1 :][close[place, place + 1 :]]
                    others = others[~later[others]]
                    if later[rest[place]] or not len(others):
                        continue
                    likeness = self._compare(rest[place], others, channels, colored)
                    alike = others[likeness >= _LOOK]
                    later[alike] = True
                    pairs.append(np.stack([np.full_like(alike, rest[place]), alike], axis=1))
                    found.append(likeness[likeness >= _LOOK])
                rest = rest[len(heads) :]
        return np.concatenate(pairs), np.concatenate(found)

    def _compare(
        self, first: int, others: NDArray[np.int64], channels: Floats, colored: NDArray[np.bool_]
    ) -> Floats:
        """Similarity of a row to others `(k,)`: grey, and the least of the channels where both have color."""
        likeness = self.vectors[others] @ self.vectors[first]
        by_channel = np.einsum("crd,cd->cr", channels[:, others], channels[:, first]).min(axis=0)
        both = colored[others] & colored[first]
        return np.asarray(np.where(both, np.minimum(likeness, by_channel), likeness), dtype=np.float32)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """List only these rows from now on, and their mirror images."""
        kept = np.zeros(len(self.vectors) // 2, dtype=bool)
        kept[rows] = True
        self.members = [members[kept[members % len(kept)]] for members in self.members]

    def search(self, queries: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Query, member and similarity of all candidates `(k,)` in the cells of the queries `(m, d)`."""
        blocks = (queries[i : i + _CELLS_BLOCK] for i in range(0, len(queries), _CELLS_BLOCK))
        cell = np.concatenate([(x @ self.centers.T).argmax(axis=1) for x in blocks])
        order = np.argsort(cell, kind="stable")
        found = [(np.empty(0, dtype=np.int64),) * 2 + (np.empty(0, dtype=np.float32),)]
        bounds = np.searchsorted(cell[order], np.arange(1, len(self.centers)))
        for rows, members in zip(np.split(order, bounds), self.members, strict=True):
            if len(rows) and len(members):
                likeness = queries[rows] @ self.vectors[members].T
                near = np.flatnonzero(likeness >= _CANDIDATE)  # several times as fast as nonzero
                i, j = np.divmod(near, len(members))
                found.append((rows[i], members[j], likeness.ravel()[near]))
        query, member, likeness = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return query, member, likeness


def _find_windows(
    images: _Thumbnails, cells: _Cells, kept: NDArray[np.int64], progress: bool
) -> Iterator[tuple[Pairs, Floats]]:
    """Pairs (image, copy) where a window of the image shows the copy, mirrored or not."""
    cells.keep(kept)
    blocks = [kept[i : i + _BLOCK] for i in range(0, len(kept), _BLOCK)]
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        found = pool.map(lambda rows: list(_search_block(images, cells, rows)), blocks)
        for parts in (
            track_progress(found, f"Comparing {len(kept):,} images", len(blocks)) if progress else found
        ):
            yield from parts
    finally:
        pool.shutdown(cancel_futures=True)


def _search_block(
    images: _Thumbnails, cells: _Cells, rows: NDArray[np.int64]
) -> Iterator[tuple[Pairs, Floats]]:
    """The pairs whose image is one of these rows."""
    n = len(images)
    vectors = _describe_windows(images.read_grey(rows)).reshape(-1, cells.vectors.shape[1])
    query, member, likeness = cells.search(vectors)
    image, window = rows[query // len(_WINDOWS)], query % len(_WINDOWS)
    pair = image * len(cells.vectors) + member
    order = np.lexsort((-likeness, pair))
    best = order[np.unique(pair[order], return_index=True)[1]]  # the nearest window of each pair
    best = best[image[best] != member[best] % n]
    for part in np.split(best, range(_PAIRS_BLOCK, len(best), _PAIRS_BLOCK)):
        pairs = np.stack([image[part], member[part] % n], axis=1)
        mirrored = member[part] >= n
        targets = cells.vectors[member[part]]
        found = _compare(images, pairs, mirrored, targets, _WINDOWS[window[part]])
        yield pairs[found >= NEAR], found[found >= NEAR]


def _compare(
    images: _Thumbnails,
    pairs: Pairs,
    mirrored: NDArray[np.bool_],
    targets: Floats,
    windows: NDArray[np.float64],
) -> Floats:
    """Similarity of pairs `(k,)` at the fitted window; 0 where that stays far from NEAR."""
    found = np.zeros(len(pairs), dtype=np.float32)
    windows, best = _fit(images.read_grey(pairs[:, 0]), targets, windows, _FIT_STEPS[:1])
    rows = np.flatnonzero(best >= _PROMISING)
    first, second = pairs[rows].T
    windows, best = _fit(images.read_grey(first), targets[rows], windows[rows], _FIT_STEPS[1:])
    both = images.colored[first] & images.colored[second]
    for channel in range(3):
        copies = _describe(images.read_channel(channel, second)) * np.where(mirrored[rows, None], _MIRROR, 1)
        likeness = (_describe_window(images.read_channel(channel, first), windows) * copies).sum(axis=1)
        best = np.where(both, np.minimum(best, likeness), best)
    found[rows] = best
    return found


def _fit(
    small: Floats, targets: Floats, windows: NDArray[np.float64], steps: Sequence[float]
) -> tuple[NDArray[np.float64], Floats]:
    """Windows moved, one edge at a time, to the most similarity with their targets, and that similarity."""
    windows = windows.copy()
    best = (_describe_window(small, windows) * targets).sum(axis=1)
    for step in steps:
        for edge in range(4):
            for move in (-step, step):
                moved = windows.copy()
                moved[:, edge] = np.clip(moved[:, edge] + move, 0, 1)
                likeness = (_describe_window(small, moved) * targets).sum(axis=1)
                better = likeness > best
                windows[better], best[better] = moved[better], likeness[better]
    return windows, best


def _describe(small: Floats) -> Floats:
    """Unit vectors `(n, d)` of whole thumbnails: weighted low frequencies without the mean."""
    basis = _create_basis(np.zeros(1), np.ones(1))[0]
    return _normalize(np.asarray(basis @ small @ basis.T, dtype=np.float32).reshape(-1, _FREQUENCIES**2))


def _describe_windows(small: Floats) -> Floats:
    """Unit vectors `(n, windows, d)` of every window of the grid."""
    spans, k = np.asarray(_SPANS), _FREQUENCIES
    basis = _create_basis(spans[:, 0], spans[:, 1]).reshape(-1, SIDE)
    rows = np.asarray(np.matmul(basis, small), dtype=np.float32).reshape(-1, SIDE)
    values = (rows @ basis.T).reshape(len(small), len(spans), k, len(spans), k)
    return _normalize(values.transpose(0, 1, 3, 2, 4).reshape(len(small), -1, k * k))


def _describe_window(small: Floats, windows: NDArray[np.float64]) -> Floats:
    """Unit vectors `(n, d)` of one window of each thumbnail."""
    rows = _create_basis(windows[:, 0], windows[:, 1])
    columns = _create_basis(windows[:, 2], windows[:, 3])
    values = np.asarray(rows @ small @ columns.transpose(0, 2, 1), dtype=np.float32)
    return _normalize(values.reshape(-1, _FREQUENCIES**2))


def _create_basis(start: NDArray[np.float64], end: NDArray[np.float64]) -> Floats:
    """Matrices `(n, frequencies, SIDE)` from a thumbnail's side to the frequencies of a span of it."""
    edges = (start[:, None] + (end - start)[:, None] * np.arange(_BINS + 1) / _BINS) * SIDE
    covered = np.clip(edges[:, :, None] - np.arange(SIDE), 0, 1)
    averages = np.diff(covered, axis=1) / ((end - start) * SIDE / _BINS)[:, None, None]
    return np.asarray(_COSINES @ averages, dtype=np.float32)


def _normalize(frequencies: Floats) -> Floats:
    weighted = frequencies[..., 1:] * _WEIGHTS
    length = np.linalg.norm(weighted, axis=-1, keepdims=True)
    return np.asarray(np.where(length > _FLAT, weighted / np.maximum(length, _FLAT), 0), dtype=np.float32)
