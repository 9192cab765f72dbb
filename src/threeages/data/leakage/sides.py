"""The train and test rows of a split: by a column of the manifest, or made at random or by identity."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threeages.data.columns import pick_column
from threeages.data.duplicates import NearDuplicates
from threeages.data.manifest import IDENTITY, Columns, Manifest
from threeages.data.split import Rows, create_split
from threeages.errors import ConfigError, DataError

SPLIT = "split"  # the column that is taken where it is there and nothing else is named
SPELLINGS = {  # of the cells of such a column, in any case
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "holdout"),
}
MADE: tuple[Literal["random", "identity"], ...] = ("random", "identity")  # splits that need no column


@dataclass(frozen=True)
class Sides:
    """Rows int64 that a model is trained on and tested on, and what divides them.

    Rows of neither side, such as validation rows, take no part.
    """

    name: str
    train: Rows
    test: Rows


@dataclass(frozen=True)
class Shared:
    """Values of a column on both sides: `values` of `known` values in test rows, and `rows` of `n` test rows.

    Cells that are empty are of no value.
    """

    column: str
    values: int
    known: int
    rows: int
    n: int

    @property
    def share(self) -> float:
        """Share of the test rows whose value is among the train rows too."""
        return self.rows / max(self.n, 1)


# columns whose rows of one value are alike beyond the person
GROUPINGS = ("film", "movie", "video", "clip", "scene", "shot", "sequence", "session", "album")


def choose_columns(columns: Columns, given: Sequence[str] | None) -> tuple[str, ...]:
    """The columns given, else those of GROUPINGS that are there; raises ConfigError for one that is not."""
    found = {name: pick_column(list(columns), (name,)) for name in (given or GROUPINGS)}
    missing = [name for name, column in found.items() if column is None]
    if given and missing:
        raise ConfigError(
            f"The manifest has no column '{missing[0]}'.",
            hint=f"--within takes one of its columns: {', '.join(columns) or 'none'}.",
        )
    return tuple(column for column in found.values() if column is not None)


def choose_split(columns: Columns, given: str | None) -> str:
    """The split to audit: the one given, else the column `split` where there is one, else 'random'.

    Raises ConfigError where the one given is neither a column nor a kind of split.
    """
    if given is None:
        return pick_column(list(columns), (SPLIT,)) or MADE[0]
    found = given if given in MADE else pick_column(list(columns), (given,))
    if found is None:
        raise ConfigError(
            f"--split was '{given}'.",
            hint=f"Give {', '.join(MADE)} or a column: {', '.join(columns) or 'the manifest has none'}.",
        )
    return found


def read_sides(manifest: Manifest, column: str, test: str | None = None) -> Sides:
    """The sides that a column of the manifest states.

    The test rows are those with the value `test`, and the train rows all others that are not empty; without
    it they are the cells that read train and test, or validation where none reads test. Raises DataError
    where a side has no row.
    """
    cells = np.asarray([cell.strip().casefold() for cell in manifest.columns[column]])
    if test is None:
        held_out = "test" if np.isin(cells, SPELLINGS["test"]).any() else "validation"
        is_train, is_test = (np.isin(cells, SPELLINGS[side]) for side in ("train", held_out))
    else:
        is_test = cells == test.strip().casefold()
        is_train = (cells != "") & ~is_test
    for side, rows in (("train", is_train), ("test", is_test)):
        if not rows.any():
            found = Counter(manifest.columns[column])
            values = ", ".join(f"{value or '(empty)'} {count:,}" for value, count in found.most_common(10))
            raise DataError(
                f"The column {column} names no {side} rows; its values are: {values}.",
                hint="Cells that read train and test are known; --test VALUE names another value.",
            )
    return Sides(f"column {column}", np.flatnonzero(is_train), np.flatnonzero(is_test))


def create_sides(
    manifest: Manifest,
    digests: NDArray[np.uint8],
    mode: Literal["random", "identity"],
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 42,
    near: NearDuplicates | None = None,
) -> Sides:
    """The sides of a split as `data.split.create_split` makes it; raises what that raises."""
    split = create_split(manifest, digests, mode, fold=fold, folds=folds, seed=seed, near=near)
    name = f"random, seed {seed}" if mode == "random" else f"identity-disjoint, fold {fold} of {folds}"
    return Sides(name, split.train, split.test)


def name_identities(manifest: Manifest) -> Manifest | None:
    """The manifest with an identity in every row, or None where none is named.

    A row without one is an identity of its own. Identities that have one image each, as `data merge` gives
    them to a set that names nobody, are no names.
    """
    names = manifest.identities()
    if names is None:
        return None
    counts = Counter(names[names != ""].tolist())
    if max(counts.values()) < 2:
        return None
    cells = tuple(name or f"\0{row}" for row, name in enumerate(names.tolist()))
    return Manifest(manifest.root, manifest.paths, manifest.labels, manifest.columns | {IDENTITY: cells})


def count_shared(manifest: Manifest, column: str, sides: Sides) -> Shared:
    """How many values of a column, and how many test rows by it, are on both sides."""
    cells = np.asarray(manifest.columns[column])
    train, test = cells[sides.train], cells[sides.test]
    met = np.isin(test, train) & (test != "")
    known = np.unique(test[test != ""])
    return Shared(column, len(np.unique(test[met])), len(known), int(met.sum()), len(test))
