"""The worth of age-blind answers under a split, and when the person of each test row is kept out of train."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from threeages.data.checks import find_groups
from threeages.data.duplicates import NearDuplicates
from threeages.data.leakage.sides import Sides
from threeages.data.manifest import IDENTITY, Manifest
from threeages.data.split import create_split
from threeages.errors import DataError
from threeages.evaluation import metrics
from threeages.evaluation.age_blind import answer_majority, answer_nearest, describe_images
from threeages.evaluation.simultaneous import bound_means
from threeages.labels import AGE_GROUPS, UNKNOWN

Rows = NDArray[np.int64]
Probs = NDArray[np.float64]
Interval = tuple[float, float]
AnswerRows = Callable[[Rows, Rows], Probs]  # train and test rows to probs of the test rows

BASELINE = "most frequent age group"
FACES = "nearest face embedding"
MAX_TEST = 5000  # test rows that are answered, drawn by the seed where there are more
FOLDS = 5  # of the identity-disjoint split, fewer where the identities do not suffice
ONE_GROUP = "an answer that never looks at age is always right, so that none is measured."
EXCLUDED = 0.3  # similarity of faces from which a train row is kept out where no identity is named


@dataclass(frozen=True)
class Pictures:
    """What is known of a manifest's images: thumbnails, digests, near duplicates, face embeddings or None."""

    thumbnails: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    near: NearDuplicates
    embeddings: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class AgeBlind:
    """The accuracy of an answer that never looks at age, and the same when identities are kept apart.

    Each has a 95 % interval by identity, NaN where they are too few. `gap` is the accuracy less `apart`, on
    the same test rows; both are None where identities could not be kept apart. The intervals of the gaps hold
    for all answers at once (evaluation.simultaneous).
    """

    name: str
    accuracy: float
    interval: Interval
    apart: float | None = None
    apart_interval: Interval | None = None
    gap: float | None = None
    gap_interval: Interval | None = None

    @property
    def leaks(self) -> bool:
        """Whether the gap is above chance: its whole interval lies above 0.

        Of splits that give nothing away at most one in twenty has an answer of which this is so.
        """
        return self.gap_interval is not None and self.gap_interval[0] > 0


@dataclass(frozen=True)
class Measured:
    """All answers, how identities were kept apart ('identity', 'estimate' or ''), and what was not done."""

    answers: tuple[AgeBlind, ...]
    apart: str
    notes: tuple[str, ...]


def measure_answers(
    manifest: Manifest,
    sides: Sides,
    pictures: Pictures,
    *,
    named: bool,
    within: Sequence[str] = (),
    seed: int = 42,
    resamples: int = 1000,
) -> Measured:
    """Answer the labelled test rows from the labelled train rows, as the split has them and kept apart.

    With `named` the column identity names every row's person: then each test row is answered from the rows of
    other identities, as many as the split trains on. Else, with embeddings, nearest neighbours are looked up
    without the train rows whose face is like the test row's. A side without a label allows no answer.
    """
    train, test, notes = _choose_rows(manifest.labels, sides, seed)
    if not len(train) or not len(test):
        side = "test" if len(train) else "train"
        return Measured((), "", (f"No label is known in the {side} rows, so that no answer is measured.",))
    if len(groups := find_groups(manifest.labels[np.concatenate([train, test])])) == 1:
        return Measured((), "", (f"Every labelled row is {groups[0]}: {ONE_GROUP}",))
    folds = None
    if named:
        folds, note = _assign_folds(manifest, pictures, seed)
        notes += [note] if note else []
    faces = None if named else pictures.embeddings
    answers = dict(_list_answers(manifest, pictures, named, within, None))
    others = dict(_list_answers(manifest, pictures, named, within, faces)) if faces is not None else {}
    who = np.asarray(manifest.columns[IDENTITY])[test] if named else None
    given = {name: answer(train, test) for name, answer in answers.items()}
    apart = {name: answer(train, test) for name, answer in others.items()}
    if folds is not None:
        apart = {
            name: _answer_apart(answer, manifest.labels, folds, test, len(train), seed)
            for name, answer in answers.items()
        }
    kind = IDENTITY if folds is not None else "estimate" if faces is not None else ""
    return Measured(score_answers(manifest.labels[test], given, apart, who, resamples), kind, tuple(notes))


def _choose_rows(labels: Rows, sides: Sides, seed: int) -> tuple[Rows, Rows, list[str]]:
    """The labelled train rows, at most MAX_TEST of the labelled test rows, and what that leaves out."""
    train, test = (rows[labels[rows] != UNKNOWN] for rows in (sides.train, sides.test))
    if len(test) <= MAX_TEST:
        return train, test, []
    chosen = np.sort(np.random.default_rng(seed).permutation(test)[:MAX_TEST])
    return train, chosen, [f"The answers are measured on {MAX_TEST:,} of {len(test):,} test rows."]


def _list_answers(
    manifest: Manifest,
    pictures: Pictures,
    named: bool,
    within: Sequence[str],
    faces: NDArray[np.float32] | None,
) -> Iterator[tuple[str, AnswerRows]]:
    """Every answer by name; with `faces` those alone that can pass over the train rows with a like face."""
    labels = manifest.labels
    if faces is None:
        yield BASELINE, partial(answer_majority, (), labels)
        first = (IDENTITY,) if named else ()
        for columns in ([first] if named else []) + [(*first, column) for column in within]:
            keys = [np.asarray(manifest.columns[column]) for column in columns]
            yield f"majority per {' and '.join(columns)}", partial(answer_majority, keys, labels)
    vectors: dict[str, NDArray[np.generic]] = dict(describe_images(pictures.thumbnails))
    if pictures.embeddings is not None:
        vectors[FACES] = pictures.embeddings
    for name, of in vectors.items():
        yield name, partial(answer_nearest, of, labels, apart=faces, limit=EXCLUDED)


def _assign_folds(manifest: Manifest, pictures: Pictures, seed: int) -> tuple[Rows | None, str]:
    """The identity-disjoint fold that tests each row `(n,)`, or None and why there is none."""
    reason = ""
    for folds in range(FOLDS, 1, -1):
        found = np.zeros(len(manifest), dtype=np.int64)
        try:
            for fold in range(folds):
                split = create_split(
                    manifest, pictures.digests, fold=fold, folds=folds, seed=seed, near=pictures.near
                )
                found[split.test] = fold
        except DataError as error:
            reason = reason or f"No identity-disjoint split can be made to compare with: {error.message}"
            continue
        return found, ""
    return None, reason


def _answer_apart(answer: AnswerRows, labels: Rows, folds: Rows, test: Rows, most: int, seed: int) -> Probs:
    """Probs `(k, 3)` of the test rows, each from at most `most` labelled rows of the other folds."""
    rng = np.random.default_rng(seed)
    found = np.empty((len(test), len(AGE_GROUPS)))
    for fold in np.unique(folds[test]).tolist():
        rows = np.flatnonzero((folds != fold) & (labels != UNKNOWN))
        train = np.sort(rng.permutation(rows)[:most])
        mine = folds[test] == fold
        found[mine] = answer(train, test[mine])
    return found


def score_answers(
    labels: Rows,
    given: Mapping[str, Probs],
    apart: Mapping[str, Probs],
    identities: NDArray[np.str_] | None,
    resamples: int = 1000,
) -> tuple[AgeBlind, ...]:
    """The answers of labels `(n,)` by name, probs `(n, 3)` each, with the gaps of those that are in `apart`.

    Whole identities `(n,)` are resampled, rows where they are None.
    """

    def measure(probs: Probs) -> tuple[float, Interval]:
        bounds = metrics.bootstrap_by_identity(labels, probs, identities, n=resamples)["accuracy"]
        return metrics.summarize(labels, probs)["accuracy"], bounds

    gaps = _measure_gaps(labels, given, apart, identities, resamples) if apart else {}
    return tuple(
        AgeBlind(name, *measure(probs), *measure(apart[name]), *gaps[name])
        if name in apart
        else AgeBlind(name, *measure(probs))
        for name, probs in given.items()
    )


def _measure_gaps(
    labels: Rows,
    given: Mapping[str, Probs],
    apart: Mapping[str, Probs],
    identities: NDArray[np.str_] | None,
    resamples: int,
) -> dict[str, tuple[float, Interval]]:
    """Of each answer in `apart` what is lost in accuracy, with intervals that hold at once."""
    right = [np.stack([p[name].argmax(axis=1) == labels for name in apart], axis=1) for p in (given, apart)]
    lost = right[0].astype(np.float64) - right[1]
    bounds = bound_means(lost, identities, n=resamples)
    pairs = zip(apart, lost.mean(axis=0).tolist(), bounds, strict=True)
    return {name: (gap, (found.low, found.high)) for name, gap, found in pairs}
