"""Copies of images on both sides of a split, and rows that repeat an image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threeages.data.duplicates import NearDuplicates, number_pictures
from threeages.data.leakage.sides import Sides
from threeages.data.split import Rows, number_images
from threeages.labels import AGE_GROUPS, UNKNOWN

UNLABELLED = "no label"


@dataclass(frozen=True)
class Copy:
    """A test row and a train row that shows the same picture: with the same pixels, or nearly so."""

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

    `digests`, uint8 `(n, 16)`, are equal for images with identical pixels. What one picture is, says
    `data.duplicates.number_pictures`, as it does for splits.
    """
    images, pictures = number_images(digests), number_pictures(digests, near)
    by_image, by_picture = (_first_rows(ids, sides.train) for ids in (images, pictures))
    found = []
    for row in sides.test.tolist():
        if (other := by_image.get(int(images[row]))) is not None:
            found.append(Copy(row, other, "exact"))
        elif (other := by_picture.get(int(pictures[row]))) is not None:
            found.append(Copy(row, other, "near"))
    return found


def count_repeats(
    labels: NDArray[np.int64], digests: NDArray[np.uint8], near: NearDuplicates
) -> dict[str, Repeats]:
    """Repeated images among the rows of each label, by its name; labels without rows are left out."""
    images, pictures = number_images(digests), number_pictures(digests, near)
    found = {}
    for label, name in (*enumerate(AGE_GROUPS), (UNKNOWN, UNLABELLED)):
        rows = labels == label
        if n := int(rows.sum()):
            different, unlike = (len(np.unique(ids[rows])) for ids in (images, pictures))
            found[name] = Repeats(n, n - different, different - unlike)
    return found


def _first_rows(ids: Rows, rows: Rows) -> dict[int, int]:
    """The first of the rows that has each number."""
    numbers, places = np.unique(ids[rows], return_index=True)
    return dict(zip(numbers.tolist(), rows[places].tolist(), strict=True))
