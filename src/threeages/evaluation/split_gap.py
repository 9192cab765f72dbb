"""How much of an accuracy a random split gives away: the gap to an identity-disjoint split."""

import math
from dataclasses import dataclass

Measured = tuple[float, float, float]  # a value and the ends of its 95 % interval


@dataclass(frozen=True)
class SplitGap:
    """Accuracy on a random and on an identity-disjoint split, and the difference with its 95 % interval."""

    random: float
    disjoint: float
    difference: float
    low: float
    high: float

    def describe(self) -> str:
        """A sentence for beside the random split's accuracy."""
        gap = f"{self.difference:.3f} [{self.low:.3f}, {self.high:.3f}]"
        found = f"the gap of {gap} is what recognising people is worth"
        if not self.low > 0:
            found = f"the gap of {gap} may be chance"
        return (
            f"Measured: accuracy {self.random:.3f} on the random split, {self.disjoint:.3f} on an "
            f"identity-disjoint one; {found}."
        )


def compute_split_gap(random: Measured, disjoint: Measured) -> SplitGap:
    """The gap of two accuracies of independent rows, of each the value and its interval.

    The interval of the difference is made of both (MOVER; Newcombe 1998, Zou and Donner 2008); NaN where one
    of them has none.
    """
    (a, a_low, a_high), (b, b_low, b_high) = random, disjoint
    low = a - b - math.hypot(a - a_low, b_high - b)
    high = a - b + math.hypot(a_high - a, b - b_low)
    return SplitGap(a, b, a - b, low, high)
