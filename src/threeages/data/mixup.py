"""Two faces in one: more faces for a lesson than there are people to learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threeages.data.split import Rows

SHARES = (0.5, 0.9)  # of the first face; at the least of them both are seen alike
STEPS = 256  # that shares are rounded to: whole numbers are mixed at half the cost


@dataclass(frozen=True)
class Mixture:
    """Faces by row, `(b,)` each: `rows` in the `shares`, `others` in the rest; a share of 1 is one face."""

    rows: Rows
    others: Rows
    shares: NDArray[np.float32]

    @property
    def mixed(self) -> Rows:
        """Where there are two faces."""
        return np.flatnonzero(self.shares < 1)

    def numbered(self, rows: Rows) -> "Mixture":
        """The same faces where face `i` is row `rows[i]`."""
        return Mixture(rows[self.rows], rows[self.others], self.shares)

    def blend(self, pixels: NDArray[np.uint8], places: Rows) -> NDArray[np.uint8]:
        """The mixed faces at these places, uint8 `(p, size, size, 3)`, of all faces cut alike."""
        share = np.rint(STEPS * self.shares[places]).astype(np.uint16)[:, None, None, None]
        first, second = pixels[self.rows[places]], pixels[self.others[places]]
        mixed: NDArray[np.uint8] = ((first * share + second * (STEPS - share)) // STEPS).astype(np.uint8)
        return mixed


def draw_mixture(rows: Rows, among: Rows, share_mixed: float, rng: np.random.Generator) -> Mixture:
    """This share of the rows, drawn, each mixed with one drawn `among` others.

    The share is kept in every batch: a device then always meets batches of one size.
    """
    mixed = rng.permutation(len(rows)) < round(share_mixed * len(rows))
    shares = np.where(mixed, rng.uniform(*SHARES, len(rows)), 1).astype(np.float32)
    return Mixture(rows, rng.choice(among, len(rows)), shares)
