"""How often a train row is drawn, and the log priors of its source, so that no source outweighs others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from threeages.data.columns import SOURCE
from threeages.data.manifest import Manifest
from threeages.data.split import Rows
from threeages.labels import AGE_GROUPS, UNKNOWN


def weigh_rows(manifest: Manifest, rows: Rows, balance: Sequence[str]) -> NDArray[np.float64]:
    """Weight `(len(rows),)` by which a row is drawn, in proportion; all are 1 where `balance` is empty.

    Rows of one source and age group (as far as `balance` names these) share a weight in proportion to the
    root of their number, and so do rows of one identity: the square root lies between drawing every row as
    often and drawing every source as often (Mahajan et al. 2018).
    """
    parts = {
        "source": _find_sources(manifest)[rows],
        "group": manifest.labels[rows],
        "identity": _find_identities(manifest)[rows],
    }
    weights = np.ones(len(rows))
    if cells := [parts[name] for name in ("source", "group") if name in balance]:
        weights /= np.sqrt(_count_alike(np.stack(cells, axis=1)))
    if "identity" in balance:
        weights /= np.sqrt(_count_alike(parts["identity"][:, None]))
    return weights


def source_log_priors(manifest: Manifest, rows: Rows) -> NDArray[np.float32]:
    """Log of the share `(n, 3)` of each age group among the labelled train `rows` of the source of every row.

    Each group counts one row more than there are, so that none has a share of 0.
    """
    sources = _find_sources(manifest)
    labels = manifest.labels
    counts = np.ones((sources.max() + 1, len(AGE_GROUPS)))
    known = rows[labels[rows] != UNKNOWN]
    np.add.at(counts, (sources[known], labels[known]), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    found: NDArray[np.float32] = np.log(shares)[sources].astype(np.float32)
    return found


def _find_sources(manifest: Manifest) -> Rows:
    names = manifest.columns.get(SOURCE, [""] * len(manifest))
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _find_identities(manifest: Manifest) -> Rows:
    """A number for each identity; rows without one count as one identity each."""
    names = manifest.identities()
    if names is None:
        return np.arange(len(manifest))
    alone = [name or f"\0{row}" for row, name in enumerate(names)]
    return np.unique(np.asarray(alone, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)


def _count_alike(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every row how many rows have its cells."""
    _, inverse, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    found: NDArray[np.int64] = counts[inverse.ravel()]
    return found
