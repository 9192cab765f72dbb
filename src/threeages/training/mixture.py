"""Two faces in one: more faces for a lesson than there are people to learn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threeages.data.split import Rows

SHARES = (0.5, 0.9)  # of the first face; at the least of them both are seen alike


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

    def blend(self, pixels: NDArray[np.uint8], places: Rows) -> NDArray[np.uint8]:
        """The mixed faces at these places, uint8 `(p, size, size, 3)`, of all faces cut alike."""
        share = self.shares[places, None, None, None]
        first, second = (pixels[rows[places]].astype(np.float32) for rows in (self.rows, self.others))
        mixed: NDArray[np.uint8] = np.rint(second + share * (first - second)).astype(np.uint8)
        return mixed


def draw_mixture(rows: Rows, among: Rows, chance: float, rng: np.random.Generator) -> Mixture:
    """Each row with this chance mixed with one drawn `among` others."""
    shares = rng.uniform(*SHARES, len(rows)).astype(np.float32)
    shares[rng.random(len(rows)) >= chance] = 1
    return Mixture(rows, rng.choice(among, len(rows)), shares)
