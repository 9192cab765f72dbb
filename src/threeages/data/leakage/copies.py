"""Copies of images on both sides of a split, and rows that repeat an image."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threeages.data.duplicates import NearDuplicates, link_rows
from threeages.data.leakage.sides import Sides
from threeages.data.split import Rows, number_images
from threeages.labels import AGE_GROUPS, UNKNOWN

UNLABELLED = "no label"


@dataclass(frozen=True)
class Copy:
    """A test row and a train row that shows the same image: with the same pixels, or nearly so."""

    test: int
    train: int
    kind: Literal["exact", "near"]


@dataclass(frozen=True)
class Repeats:
    """Of the `rows` of a label, those that repeat an image of an earlier one: its pixels, or a copy of it."""

    rows: int
    exact: int
    near: int

    @property
    def share(self) -> float:
        """Share of the rows that repeat an image."""
        return (self.exact + self.near) / max(self.rows, 1)


def find_copies(digests: NDArray[np.uint8], near: NearDuplicates, sides: Sides) -> list[Copy]:
    """The test rows with an exact or a near duplicate among the train rows, each with one such train row.

    `digests`, uint8 `(n, 16)`, are equal for images with identical pixels. Images of one look are paired with
    the first of them alone (data.duplicates), so rows are compared by their look.
    """
    images, looks = number_images(digests), _number_looks(digests, near)
    beside: dict[int, set[int]] = defaultdict(set)
    for a, b in looks[near.pairs].tolist():
        beside[a].add(b)
        beside[b].add(a)
    by_image, by_look = (_first_rows(ids, sides.train) for ids in (images, looks))
    found = []
    for row in sides.test.tolist():
        if (other := by_image.get(int(images[row]))) is not None:
            found.append(Copy(row, other, "exact"))
            continue
        look = int(looks[row])
        others = [by_look[key] for key in (look, *sorted(beside[look])) if key in by_look]
        found += [Copy(row, other, "near") for other in others[:1]]
    return found


def count_repeats(
    labels: NDArray[np.int64], digests: NDArray[np.uint8], near: NearDuplicates
) -> dict[str, Repeats]:
    """Repeated images among the rows of each label, by its name; labels without rows are left out."""
    images, looks = number_images(digests), _number_looks(digests, near)
    found = {}
    for label, name in (*enumerate(AGE_GROUPS), (UNKNOWN, UNLABELLED)):
        rows = labels == label
        if n := int(rows.sum()):
            different, unlike = (len(np.unique(ids[rows])) for ids in (images, looks))
            found[name] = Repeats(n, n - different, different - unlike)
    return found


def _number_looks(digests: NDArray[np.uint8], near: NearDuplicates) -> Rows:
    """A number per row `(n,)`, the same for rows that are exact duplicates or copies beyond doubt."""
    first = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    origin = first[1][first[2].reshape(-1)]
    return link_rows(len(digests), near.copies())[origin]


def _first_rows(ids: Rows, rows: Rows) -> dict[int, int]:
    """The first of the rows that has each number."""
    numbers, places = np.unique(ids[rows], return_index=True)
    return dict(zip(numbers.tolist(), rows[places].tolist(), strict=True))
