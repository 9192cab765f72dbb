"""Whose face is likely on both sides, by embeddings; purity and recall of that where names are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.age_blind import find_nearest

Rows = NDArray[np.int64]
LIKELY = 0.6  # similarity of two faces from which they likely show one person; see results/leakage.csv
_BLOCK = 1024  # rows whose pairs are counted at a time
_MOST = 20_000  # rows whose pairs are counted


@dataclass(frozen=True)
class EstimateQuality:
    """What of an estimate is right, over rows and over pairs of images.

    `purity` is the share of the test rows said to have their person in train whose nearest face there is that
    person's, `recall` the share of the test rows with their person in train that are said to. Of all pairs
    of images, `pairs_found` is the share of those of one person that are likely the same, and `pairs_false`
    the share of those of two persons.
    """

    purity: float
    recall: float
    pairs_found: float
    pairs_false: float


# of the film faces on the random split, whose identities are named: results/leakage.csv
MEASURED = EstimateQuality(purity=0.93829, recall=0.61853, pairs_found=0.02908, pairs_false=0.00001)


def find_likely(
    vectors: NDArray[np.float32], train: Rows, test: Rows, threshold: float = LIKELY
) -> tuple[NDArray[np.bool_], Rows]:
    """Which test rows `(k,)` likely show a person of a train row, and the train row with the nearest face."""
    nearest = find_nearest(vectors, train, test)[0]
    likeness = (vectors[test] * vectors[nearest]).sum(axis=1)
    return np.asarray(likeness >= threshold), nearest


def measure_estimate(
    vectors: NDArray[np.float32],
    names: NDArray[np.str_],
    train: Rows,
    test: Rows,
    threshold: float = LIKELY,
) -> EstimateQuality:
    """The quality of the estimate for rows with names `(n,)`; NaN where there is nothing to share."""
    likely, nearest = find_likely(vectors, train, test, threshold)
    right = names[nearest] == names[test]
    met = np.isin(names[test], names[train])
    found, false = _count_pairs(vectors, names, np.concatenate([train, test]), threshold)
    return EstimateQuality(_share(right & likely, likely), _share(likely & met, met), found, false)


def _count_pairs(
    vectors: NDArray[np.float32], names: NDArray[np.str_], rows: Rows, threshold: float
) -> tuple[float, float]:
    """Share of the pairs of one person and of those of two persons that are likely the same."""
    rows = np.random.default_rng(0).permutation(rows)[:_MOST]
    codes = np.unique(names[rows], return_inverse=True)[1]
    faces = vectors[rows]
    counts = np.zeros((2, 2), dtype=np.int64)  # of one person or not, likely or not
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        later = np.arange(len(rows))[None, :] > np.arange(start, min(start + _BLOCK, len(rows)))[:, None]
        same = codes[block, None] == codes[None, :]
        likely = faces[block] @ faces.T >= threshold
        for i, pairs in enumerate((later & ~same, later & same)):
            counts[i] += (int(pairs.sum()), int((pairs & likely).sum()))
    false, found = (float(likely / n) if n else float("nan") for n, likely in counts.tolist())
    return found, false


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
