"""When there is too little to tell: the least that a figure needs, and how that is said.

A share of three images reads 100 % as easily as one of three thousand. Whoever shows a figure asks here.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from threeages.errors import format_count
from threeages.labels import AGE_GROUPS

# identities, or images where none is named; with fewer, whole identities drawn at random give intervals that
# hold far less often than they say
LEAST_UNITS = 10
TOO_FEW = "too few to tell"
IMAGE = "image"  # the unit where no identity is named


def describe_too_few(images: int, units: int, unit: str, verb: str = "were scored") -> str:
    """A sentence where the images are of less than LEAST_UNITS units ('identity' or 'image'), else ''."""
    if units >= LEAST_UNITS:
        return ""
    needed = f"{LEAST_UNITS} {'images' if unit == IMAGE else 'identities'} or more are needed"
    return f"Too few to tell: {count_units(images, units, unit)} {verb}, and {needed}."


def describe_small_groups(labels: NDArray[np.int64], units: NDArray[np.int64], unit: str) -> Iterator[str]:
    """A sentence for each age group among the labels `(n,)` that less than LEAST_UNITS of `units` show."""
    for label, name in enumerate(AGE_GROUPS):
        rows = labels == label
        count = len(np.unique(units[rows]))
        if 0 < count < LEAST_UNITS:
            shown = count_units(int(rows.sum()), count, unit)
            yield f"{name} is measured on {shown} alone: {TOO_FEW}, as {LEAST_UNITS} or more are needed."


def count_units(images: int, units: int, unit: str) -> str:
    """Such as '12 images of 3 identities', or '12 images' where each image is a unit."""
    of = "" if unit == IMAGE else f" of {format_count(units, 'identity', 'identities')}"
    return f"{format_count(images, 'image')}{of}"
