"""Train, validation and test rows: random as in the reference study, by identity or by source."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from threeages.data.columns import SOURCE
from threeages.data.duplicates import NearDuplicates, Pairs, link_rows, number_pictures
from threeages.data.manifest import IDENTITY, Manifest
from threeages.errors import ConfigError, DataError, MissingDependencyError, format_count

Rows = NDArray[np.int64]
SplitMode = Literal["random", "identity", "source", "none"]
TEST_SHARE = 0.2  # of the random split, as in the reference study
VALIDATION_PARTS = 8  # one part in eight of what the test fold leaves is validation, where identities suffice


@dataclass(frozen=True)
class Split:
    """Row indices of a manifest, int64: `train` fits, `validation` chooses the epoch, `test` is scored once.

    Mode `identity`: no identity, no image with identical pixels and no near duplicate is on two sides. Mode
    `source`: the test rows are all rows of some sources; the others are parted by identity, without those of
    an identity or with a near duplicate of an image in test. Mode `random`: `validation` IS `test`, as in the
    reference study, and identities are on both sides, so that the score is too high for new identities. Mode
    `none`: every row is in `train`. `leaked_duplicates` counts test images with an exact duplicate in
    `train`, `leaked_near_duplicates` those with a near duplicate alone.
    """

    train: Rows
    validation: Rows
    test: Rows
    leaked_duplicates: int
    leaked_near_duplicates: int = 0


def create_split(
    manifest: Manifest,
    digests: NDArray[np.uint8],
    mode: SplitMode = "identity",
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 42,
    near: NearDuplicates | None = None,
    held_out: Sequence[str] = (),
    train_sources: Sequence[str] = (),
) -> Split:
    """Split the rows of a manifest into train, validation and test rows.

    `digests`, uint8 `(n, 16)`, are equal for images with identical pixels (`faces.images.pixel_digest`). Mode
    `identity` tests on one of `folds` parts of the identities, mode `source` on the sources `held_out`
    and trains on `train_sources`, or on all others without any; the other modes use none of these. `near`
    holds the rows that are near duplicates (`data.duplicates`): identities that copies link move to one side,
    all others stay where they were without them. Raises ConfigError where a setting is not allowed, DataError
    in the modes `identity` and `source` where a row has no identity or the identities are too few, and where
    a source has no row.
    """
    _check(mode, fold, folds, held_out, train_sources)
    near = near or NearDuplicates(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32))
    images, pictures = number_images(digests), number_pictures(digests, near)
    if mode == "none":
        train, validation, test = np.arange(len(manifest)), *(np.empty(0, dtype=np.int64),) * 2
    elif mode == "random":
        train, test = _split_random(len(manifest), seed)
        validation = test
    elif mode == "source":
        train, validation, test = _split_sources(manifest, images, near.pairs, held_out, train_sources, seed)
    else:
        train, validation, test = _split_identities(manifest, images, near.pairs, fold, folds, seed)
    exact = np.isin(images[test], images[train])
    alike = np.isin(pictures[test], pictures[train])
    return Split(train, validation, test, int(exact.sum()), int((alike & ~exact).sum()))


def _check(mode: str, fold: int, folds: int, held_out: Sequence[str], train_sources: Sequence[str]) -> None:
    if mode not in get_args(SplitMode):
        raise ConfigError(f"The split was '{mode}'.", hint=f"Allowed: {', '.join(get_args(SplitMode))}.")
    if (mode == "source") != bool(held_out):
        raise ConfigError(
            f"The split was '{mode}' with {len(held_out)} sources held out.",
            hint="A split by source needs at least one to hold out, and no other split takes any.",
        )
    if train_sources and mode != "source":
        raise ConfigError(
            f"The split was '{mode}' with sources to train on.", hint="Only a split by source chooses them."
        )
    check_folds(fold, folds)


def check_folds(fold: int, folds: int) -> None:
    """Raise ConfigError unless there are two folds or more, and that fold is one of them."""
    if folds < 2 or not 0 <= fold < folds:
        raise ConfigError(
            f"The split was fold {fold} of {folds} folds.",
            hint="Give at least 2 folds, and a fold from 0 to one less than their number.",
        )


def _split_random(n: int, seed: int) -> tuple[Rows, Rows]:
    if n < 2:
        raise DataError(
            "A manifest of one row cannot be split.", hint="Give at least 2 rows, better some hundreds."
        )
    try:
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "train") from error
    train, test = train_test_split(np.arange(n), test_size=TEST_SHARE, random_state=seed)
    return train, test


def _split_identities(
    manifest: Manifest, images: Rows, pairs: Pairs, fold: int, folds: int, seed: int
) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test rows, no identity in two of them."""
    labels, members = manifest.labels, _find_members(manifest, images, pairs)
    linked = members[:, 1]
    everything = np.arange(len(manifest))
    most = _count_parts(labels, linked, everything)
    if most < folds:
        raise DataError(
            f"The manifest is too small for {folds} folds by identity: it allows at most {most}.",
            hint=f"Add images of more identities.{f' Or give --folds {most}.' if most > 1 else ''}",
        )
    rest, test = _take_part(labels, members, everything, fold, folds, seed)
    if not len(test):
        raise DataError(
            f"Fold {fold} of {folds} has no test row.",
            hint="Add images of more identities. Fewer --folds may do. Another --seed may do.",
        )
    return *_split_validation(labels, members, rest, f"Fold {fold} of {folds}", seed), test


def _split_sources(
    manifest: Manifest,
    images: Rows,
    pairs: Pairs,
    held_out: Sequence[str],
    train_sources: Sequence[str],
    seed: int,
) -> tuple[Rows, Rows, Rows]:
    """Train, validation and test rows, the last of them all rows of the sources held out."""
    sources = np.asarray(manifest.columns.get(SOURCE, ("",) * len(manifest)))
    if unknown := sorted({*held_out, *train_sources} - set(sources.tolist())):
        known = ", ".join(sorted(set(sources.tolist()) - {""})) or f"none: it has no column {SOURCE}"
        raise DataError(f"The manifest has no source {unknown[0]!r}.", hint=f"Its sources are {known}.")
    members = _find_members(manifest, images, pairs)
    is_test = np.isin(sources, held_out)
    met = np.isin(
        members[:, 1], members[is_test, 1]
    )  # an identity or a near duplicate of the sources held out
    rest = np.flatnonzero(~met & (np.isin(sources, train_sources) if train_sources else True))
    name = f"Holding out {', '.join(held_out)}"
    return *_split_validation(manifest.labels, members, rest, name, seed), np.flatnonzero(is_test)


def _find_members(manifest: Manifest, images: Rows, pairs: Pairs) -> Rows:
    """Of each row `(n, 2)` its identity, and the identities that near duplicates link, as numbers."""
    identities = _merged_identities(manifest, images)
    linked = link_rows(int(identities.max()) + 1, identities[pairs])[identities]
    return np.stack([identities, linked], axis=1)


def _split_validation(labels: Rows, members: Rows, rest: Rows, name: str, seed: int) -> tuple[Rows, Rows]:
    """Train and validation rows of the `rest` that a test part, which is called `name`, leaves."""
    linked = members[:, 1]
    parts = min(VALIDATION_PARTS, _count_parts(labels, linked, rest)) if len(rest) else 0
    if parts < 2:
        raise DataError(
            f"{name} leaves {format_count(len(np.unique(linked[rest])), 'identity', 'identities')} in "
            f"{format_count(len(rest), 'image')}; train and validation rows need at least 2 identities, and "
            "2 images of one age group.",
            hint="Add images of more identities. Or give more --folds.",
        )
    train, validation = _take_part(labels, members, rest, 0, parts, seed)
    for side, rows in {"train": train, "validation": validation}.items():
        if not len(rows):
            raise DataError(
                f"{name} leaves no {side} row.",
                hint="Add images of more identities. Fewer --folds may do. Another --seed may do.",
            )
    return train, validation


def _count_parts(labels: Rows, identities: Rows, rows: Rows) -> int:
    """The most parts these rows allow: one per identity, and per image of the most frequent label."""
    frequent = np.unique(labels[rows], return_counts=True)[1].max()
    return int(min(len(np.unique(identities[rows])), frequent))


def _take_part(
    labels: Rows, members: Rows, rows: Rows, part: int, parts: int, seed: int
) -> tuple[Rows, Rows]:
    """(rest, part) of the rows, identities whole and labels stratified.

    `members` `(n, 2)` holds each row's identity and what it is linked to. Linked identities move to the part
    that has most of their rows, so that the other identities' parts do not depend on them; only where that
    leaves a part empty are they parted as one from the start.
    """
    identities, linked = members[rows].T
    chosen = _move_linked(_assign_parts(labels[rows], identities, parts, seed), linked, parts)
    if len(np.unique(chosen)) < parts:
        chosen = _assign_parts(labels[rows], linked, parts, seed)
    return rows[chosen != part], rows[chosen == part]


def _move_linked(chosen: Rows, linked: Rows, parts: int) -> Rows:
    """The part of every row `(n,)`: of linked rows the one that most of them are in."""
    counts = np.zeros((int(linked.max()) + 1, parts), dtype=np.int64)
    np.add.at(counts, (linked, chosen), 1)
    return np.asarray(counts.argmax(axis=1)[linked], dtype=np.int64)


def _assign_parts(labels: Rows, identities: Rows, parts: int, seed: int) -> Rows:
    """A part from 0 for every row `(n,)`, identities whole and labels stratified."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "train") from error
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    chosen = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():  # of a rare label; the checks of the split say what a side lacks
        warnings.simplefilter("ignore", UserWarning)
        for part, (_, taken) in enumerate(splitter.split(labels, labels, identities)):
            chosen[taken] = part
    return chosen


def _merged_identities(manifest: Manifest, images: Rows) -> Rows:
    """Number of each row's identity `(n,)`; identities that share an image count as one."""
    names = manifest.identities()
    if names is None or "" in names:
        known = 0 if names is None else int((names != "").sum())
        raise DataError(
            f"A split by identity needs an identity in every row; "
            f"the column {IDENTITY} has one in {known} of {format_count(len(manifest), 'row')}.",
            hint="Add the column, or run 'threeages data import' with --identities FILE. A random split "
            "needs no identities, but its score is too high for new ones. Give --split random for that.",
        )
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    numbers = np.unique(names, return_inverse=True)[1]
    n = int(numbers.max()) + 1
    edges = coo_matrix((np.ones(len(numbers)), (numbers, n + images)), shape=(n + len(images),) * 2)
    return np.asarray(connected_components(edges, directed=False)[1][numbers], dtype=np.int64)


def number_images(digests: NDArray[np.uint8]) -> Rows:
    """A number per row `(n,)`, the same for rows with identical pixels."""
    return np.asarray(np.unique(digests, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)
