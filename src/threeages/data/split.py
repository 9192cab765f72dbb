"""Which rows train, which validation, which judge: random as the reference study, or disjoint in people."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import IDENTITY, Manifest
from threeages.errors import DataError, MissingDependencyError

Rows = NDArray[np.int64]
SplitMode = Literal["random", "identity", "none"]
TEST_SHARE = 0.2  # the reference study's 80/20
SELECT_PARTS = 8  # one eighth of the training people choose the epoch; the judged people never do


@dataclass(frozen=True)
class Split:
    """Row indices of a manifest. `validation` chooses, `test` is judged once; `none` trains on all rows.

    In `random` mode both are the same rows, as in the reference study; in `people` mode no cluster and no
    pixel-identical image stands on two sides. `straddling` counts test images with a twin in train.
    """

    train: Rows
    validation: Rows
    test: Rows
    straddling: int


def create_split(
    manifest: Manifest,
    digests: NDArray[np.uint8],
    mode: SplitMode,
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 42,
) -> Split:
    """Split a manifest; `digests` uint8 `(n, 16)` names identical pixels (see data.digest).

    Raises DataError in `people` mode when no person is known.
    """
    twins = _twin_ids(digests)
    if mode == "none":
        train, validation, test = np.arange(len(manifest)), *(np.empty(0, dtype=np.int64),) * 2
    elif mode == "random":
        train, test = _random(len(manifest), seed)
        validation = test
    else:
        identities = _merged_identities(manifest, twins)
        train, test = _fold(manifest.labels, identities, np.arange(len(manifest)), fold, folds, seed)
        train, validation = _fold(manifest.labels, identities, train, 0, SELECT_PARTS, seed)
    return Split(train, validation, test, int(np.isin(twins[test], twins[train]).sum()))


def _random(n: int, seed: int) -> tuple[Rows, Rows]:
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "train") from error
    train, test = train_test_split(np.arange(n), test_size=TEST_SHARE, random_state=seed)
    return train, test


def _fold(labels: Rows, identities: Rows, rows: Rows, fold: int, folds: int, seed: int) -> tuple[Rows, Rows]:
    """(rest, fold) of the rows, identities whole and classes stratified."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "train") from error
    n = len(np.unique(identities[rows]))
    if n < folds:
        raise DataError(
            f"The manifest has {n} people; {folds} folds need at least {folds}.", hint="Give fewer --folds."
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(splitter.split(rows, labels[rows], identities[rows]))
    rest, held = parts[fold]
    return rows[rest], rows[held]


def _merged_identities(manifest: Manifest, twins: Rows) -> Rows:
    """Cluster index per row; people who share an identical image become one cluster."""
    names = manifest.identities()
    if names is None or "" in names:
        known = 0 if names is None else int((names != "").sum())
        raise DataError(
            f"A split by people needs a person in every row; {IDENTITY} has {known} of {len(manifest)}.",
            hint="Import with --people FILE, add the column, or use --split random.",
        )
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    people = np.unique(names, return_inverse=True)[1]
    n = int(people.max()) + 1
    edges = coo_matrix((np.ones(len(people)), (people, n + twins)), shape=(n + len(twins),) * 2)
    return np.asarray(connected_components(edges, directed=False)[1][people], dtype=np.int64)


def _twin_ids(digests: NDArray[np.uint8]) -> Rows:
    """The same number for rows whose decoded pixels are identical."""
    return np.asarray(np.unique(digests, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)
