"""What can be said of a manifest, its labels and its split before any image is read."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from threeages.data.ages import MAX_AGE, is_no_age, parse_years
from threeages.data.columns import AGE, LABEL_NAMES, pick_column
from threeages.data.manifest import Manifest
from threeages.data.split import Rows, Split, SplitMode, create_split
from threeages.errors import ConfigError, DataError, format_count
from threeages.labels import AGE_GROUPS, UNKNOWN

MAX_SEED = 2**32 - 1  # of scikit-learn


def check_split(
    manifest: Manifest,
    mode: SplitMode = "identity",
    *,
    fold: int = 0,
    folds: int = 5,
    seed: int = 42,
    held_out: Sequence[str] = (),
    train_sources: Sequence[str] = (),
) -> Split:
    """The split that `create_split` would make where no image were a duplicate; takes a moment.

    Raises ConfigError where a setting is not allowed, DataError where the manifest is too small.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"The seed was {seed}.", hint=f"Allowed: 0 to {MAX_SEED}.")
    least = 2 if mode == "random" else 1
    if len(manifest) < least:
        what = "a random split" if mode == "random" else "a split"
        raise DataError(
            f"The manifest has {format_count(len(manifest), 'row')}; {what} needs at least {least}.",
            hint="Add images.",
        )
    different = np.arange(len(manifest), dtype=np.int64)[:, None].view(np.uint8)
    return create_split(
        manifest,
        different,
        mode,
        fold=fold,
        folds=folds,
        seed=seed,
        held_out=held_out,
        train_sources=train_sources,
    )


def check_age_groups(
    manifest: Manifest, rows: Rows, what: str = "row", where: str = "", *, least: int = 2
) -> None:
    """Raise DataError where the labels of these rows are of fewer than `least` age groups.

    `what` is the noun for one of the rows, such as 'train row', and `where` what follows it: ' of fold 0'.
    """
    groups = find_groups(manifest.labels[rows])
    if len(groups) >= least:
        return
    if groups:
        raise DataError(
            f"Every labelled {what}{where} is {groups[0]}; at least two age groups are needed.",
            hint="Add images of the others.",
        )
    has_labels = bool((manifest.labels != UNKNOWN).any())
    raise DataError(
        f"None of {format_count(len(rows), what)}{where} has a label.",
        hint="Label some of them. Another --seed may choose other rows."
        if has_labels
        else _find_words(manifest),
    )


def find_groups(labels: NDArray[np.int64]) -> list[str]:
    """Names of the age groups that occur among labels `(n,)`, in order."""
    return [name for i, name in enumerate(AGE_GROUPS) if (labels == i).any()]


def describe_groups(labels: NDArray[np.int64], what: str) -> Iterator[str]:
    """A sentence about labels `(n,)` of which an age group is absent; `what` is the noun for one row."""
    missing = [name for name in AGE_GROUPS if name not in find_groups(labels)]
    if not (labels != UNKNOWN).any():
        yield f"No {what} has a label."
    elif missing:
        yield f"No {what} is {' or '.join(missing)}."


def describe_ages(manifest: Manifest) -> Iterator[str]:
    """Sentences about the column `age`: cells that are no age, and labels that contradict it."""
    cells = manifest.columns.get(AGE, ())
    wrong = [row for row, cell in enumerate(cells) if is_no_age(cell)]
    if wrong:
        yield (
            f"{_name_rows(manifest, wrong, 'has', 'have')} an age that is no number of years from 0 to "
            f"{MAX_AGE:g} ('{cells[wrong[0]][:40]}'), and counts as not given."
        )
    against = find_contradictions(manifest)
    if len(against):
        first = int(against[0])
        yield (
            f"{_name_rows(manifest, against, 'has', 'have')} a label that contradicts the age of the other "
            f"rows ({AGE_GROUPS[manifest.labels[first]]} at {cells[first]})."
        )


def find_contradictions(manifest: Manifest) -> Rows:
    """The fewest rows whose label contradicts their age, wherever the age groups may begin.

    Bounds between the groups are not looked up: those that contradict the fewest rows are found, so that
    a set with bounds of its own gives no false alarm.
    """
    ages = np.asarray([np.nan if (y := parse_years(c)) is None else y for c in manifest.columns.get(AGE, ())])
    if not len(ages):
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(np.isfinite(ages) & (manifest.labels != UNKNOWN))
    rows = rows[np.argsort(ages[rows], kind="stable")]
    # a bound stands before a row that is older than the one before
    edges = np.append(np.unique(ages[rows], return_index=True)[1], len(rows))
    first, second = _find_bounds(manifest.labels[rows], edges)
    expected = (np.arange(len(rows)) >= first).astype(np.int64) + (np.arange(len(rows)) >= second)
    return np.sort(rows[manifest.labels[rows] != expected])


def _find_bounds(labels: NDArray[np.int64], edges: Rows) -> tuple[int, int]:
    """Positions among labels ordered by age where MIDDLE and OLD begin, with the fewest contradictions."""
    below = [np.concatenate([[0], np.cumsum(labels == i)])[edges] for i in range(len(AGE_GROUPS))]
    # right rows: YOUNG below the first bound, MIDDLE between the two, OLD from the second on
    left = below[0] - below[1]
    best = np.maximum.accumulate(left)
    second = int(np.argmax(best + below[1] - below[2]))
    first = int(np.argmax(left[: second + 1]))
    return int(edges[first]), int(edges[second])


def _name_rows(manifest: Manifest, rows: Sequence[int] | Rows, one: str, several: str) -> str:
    """'a.jpg has' or '3 rows, first a.jpg, have', for the beginning of a sentence."""
    first = manifest.paths[int(rows[0])]
    return f"{first} {one}" if len(rows) == 1 else f"{len(rows):,} rows, first {first}, {several}"


def _find_words(manifest: Manifest) -> str:
    """What to do about a manifest without labels: a column may hold other words than the age groups."""
    name = pick_column(list(manifest.columns), LABEL_NAMES)
    words = sorted({cell for cell in manifest.columns[name] if cell})[:3] if name else []
    if words:
        return f"The column {name} holds other words ({', '.join(words)}). Allowed: {', '.join(AGE_GROUPS)}."
    if any(manifest.columns.get(AGE, ())):
        return "Run 'threeages data import' on the csv, which makes labels of its column age."
    return f"Write {', '.join(AGE_GROUPS)} into a column label."
