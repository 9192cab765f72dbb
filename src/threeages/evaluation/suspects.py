"""Labels to look at first, by out-of-fold probabilities (confident learning) and among duplicates.

Source: Northcutt, Jiang and Chuang, "Confident Learning", JAIR 70 (2021), as the package cleanlab has it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import Manifest
from threeages.errors import DataError, MissingDependencyError, format_count
from threeages.evaluation.enough import LEAST_UNITS, TOO_FEW
from threeages.evaluation.predictions import PredictionTable
from threeages.labels import AGE_GROUPS, UNKNOWN

DUPLICATE, PROBABILITIES = "duplicate", "probabilities"  # why a label is a suspect
SUSPECT_COLUMNS = ("path", "label", "suggestion", "reason", "quality", "duplicates")
HELD_OUT = frozenset({"identity", "source"})  # splits whose probabilities are of identities not trained on
FILTER, RANKING = "prune_by_noise_rate", "self_confidence"  # of cleanlab; results/label-review.csv


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong; `row` is that of the manifest.

    `reason` is DUPLICATE, where `others` are the rows of the same picture, or PROBABILITIES. `probs` are
    those of the age groups, None where no model answered. `suggestion` is the group that the labels of the
    other copies, or the model, name; None where they name none beside the label. `quality` is 0 to 1, the
    lowest first; NaN without probabilities.
    """

    row: int
    reason: str
    suggestion: int | None
    quality: float = float("nan")
    probs: tuple[float, ...] | None = None
    others: tuple[int, ...] = ()


def find_suspects(
    manifest: Manifest, conflicts: Sequence[Sequence[int]], table: PredictionTable | None = None
) -> list[Suspect]:
    """The labels to look at, the likeliest to be wrong first: each row of a manifest once.

    `conflicts` are sets of rows that show the same picture under several labels (data.conflicts); they come
    first, set by set. `table` holds out-of-fold predictions, whose rows are found by their paths. Raises
    DataError where they are of a split that is not identity-disjoint, or name no labelled image.
    """
    known = [] if table is None else rank_labels(manifest, table)
    by_row = {suspect.row: suspect for suspect in known}
    first = list(
        _list_duplicates(manifest, conflicts, by_row if table is None else _answers(manifest, table))
    )
    listed = {suspect.row for suspect in first}
    return first + [suspect for suspect in known if suspect.row not in listed]


def describe_suspects(manifest: Manifest, suspects: Sequence[Suspect]) -> Iterator[dict[str, str]]:
    """A row of text for each suspect, with SUSPECT_COLUMNS; `duplicates` are paths with ';' between them."""
    for suspect in suspects:
        yield {
            "path": manifest.paths[suspect.row],
            "label": AGE_GROUPS[manifest.labels[suspect.row]],
            "suggestion": "" if suspect.suggestion is None else AGE_GROUPS[suspect.suggestion],
            "reason": suspect.reason,
            "quality": "" if suspect.probs is None else f"{suspect.quality:.4f}",
            "duplicates": ";".join(manifest.paths[row] for row in suspect.others),
        }


def rank_labels(manifest: Manifest, table: PredictionTable) -> list[Suspect]:
    """The labels that cleanlab finds wrong by out-of-fold probabilities, the worst first.

    Raises DataError as `find_suspects`, MissingDependencyError without cleanlab.
    """
    check_held_out(table)
    rows, probs = match_rows(manifest, table)
    labels = manifest.labels[rows]
    if len(set(labels.tolist())) < len(AGE_GROUPS):
        raise DataError(
            "The images with predictions are not of all three age groups, so wrong labels cannot be told.",
            hint="Give the predictions of every fold: runs/fold-0 runs/fold-1 ...",
        )
    quality = score_labels(labels, probs)
    return [
        Suspect(
            int(rows[i]),
            PROBABILITIES,
            suggest(int(labels[i]), probs[i]),
            float(quality[i]),
            tuple(probs[i].tolist()),
        )
        for i in find_wrong(labels, probs)
    ]


def describe_few(manifest: Manifest, table: PredictionTable) -> Iterator[str]:
    """A sentence for each age group with too few labels for telling which of them are wrong."""
    rows = match_rows(manifest, table)[0]
    counts = np.bincount(manifest.labels[rows], minlength=len(AGE_GROUPS))
    for name, count in zip(AGE_GROUPS, counts.tolist(), strict=True):
        if 0 < count < LEAST_UNITS:
            yield (
                f"{format_count(count, 'label')} of {name} {'has' if count == 1 else 'have'} predictions: "
                f"{TOO_FEW} which are wrong, as {LEAST_UNITS} or more are needed."
            )


def find_wrong(
    labels: NDArray[np.int64], probs: NDArray[np.float64], filter_by: str = FILTER, ranking: str = RANKING
) -> NDArray[np.int64]:
    """Indices of the labels `(n,)` that probabilities `(n, 3)` say are wrong, the worst first."""
    found = import_cleanlab().filter.find_label_issues(
        labels, _normalize(probs), return_indices_ranked_by=ranking, filter_by=filter_by, n_jobs=1
    )
    return np.asarray(found, dtype=np.int64)


def score_labels(labels: NDArray[np.int64], probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """How well probabilities `(n, 3)` support labels `(n,)`: float64 `(n,)` from 0 to 1."""
    found = import_cleanlab().rank.get_label_quality_scores(labels, _normalize(probs), method=RANKING)
    return np.asarray(found, dtype=np.float64)


def check_held_out(table: PredictionTable) -> None:
    """Raise DataError where predictions are known to be of identities that their model was trained on."""
    split = table.provenance.split
    if split and split not in HELD_OUT:
        raise DataError(
            f"The predictions are of a {split} split: their model knows the persons with their labels, wrong "
            "ones included.",
            hint="Train every fold by identity first: threeages train MANIFEST --split identity --fold 0",
        )


def match_rows(manifest: Manifest, table: PredictionTable) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the manifest `(m,)` with a label and an answer, and their probabilities `(m, 3)`.

    An image with several answers gets their mean. Raises DataError where no labelled image has one.
    """
    places = {path: row for row, path in enumerate(manifest.paths)}
    answered = np.flatnonzero(np.isfinite(table.probs).all(axis=1))
    found = np.asarray([places.get(table.paths[i], -1) for i in answered], dtype=np.int64)
    usable = (found >= 0) & (manifest.labels[found] != UNKNOWN)
    if not usable.any():
        raise DataError(
            f"None of {format_count(len(table), 'prediction')} is of a labelled image of the manifest.",
            hint=f"Their paths must be those of the manifest, such as {next(iter(manifest.paths), 'a.jpg')}.",
        )
    rows, inverse = np.unique(found[usable], return_inverse=True)
    sums = np.zeros((len(rows), len(AGE_GROUPS)))
    np.add.at(sums, inverse, table.probs[answered[usable]])
    return rows, _normalize(sums)


def suggest(label: int, probs: NDArray[np.float64]) -> int | None:
    """The likeliest age group, None where it is the label."""
    best = int(probs.argmax())
    return None if best == label else best


def _answers(manifest: Manifest, table: PredictionTable) -> dict[int, Suspect]:
    """What the model says of every labelled row that it answered."""
    rows, probs = match_rows(manifest, table)
    quality = score_labels(manifest.labels[rows], probs)
    return {
        int(row): Suspect(
            int(row), PROBABILITIES, suggest(int(manifest.labels[row]), p), float(q), tuple(p.tolist())
        )
        for row, p, q in zip(rows, probs, quality, strict=True)
    }


def _list_duplicates(
    manifest: Manifest, conflicts: Sequence[Sequence[int]], answers: dict[int, Suspect]
) -> Iterator[Suspect]:
    for rows in conflicts:
        counts = np.bincount([n for n in manifest.labels[list(rows)] if n != UNKNOWN], minlength=3)
        for row in rows:
            if manifest.labels[row] == UNKNOWN:
                continue
            own = answers.get(row, Suspect(row, DUPLICATE, None))
            others = tuple(other for other in rows if other != row)
            label = int(manifest.labels[row])
            named = _majority(counts)
            best = own.suggestion if named is None else named if named != label else None
            yield replace(own, reason=DUPLICATE, suggestion=best, others=others)


def _majority(counts: NDArray[np.int64]) -> int | None:
    """The label of most copies, None where there is a tie."""
    best = int(counts.argmax())
    return best if (counts == counts[best]).sum() == 1 else None


def _normalize(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that add up to 1 exactly: a file holds them rounded."""
    return np.asarray(probs / probs.sum(axis=1, keepdims=True), dtype=np.float64)


def import_cleanlab() -> Any:
    """The package cleanlab; raises MissingDependencyError, which names the extra."""
    try:
        import cleanlab.filter
        import cleanlab.rank
    except ModuleNotFoundError as error:
        raise MissingDependencyError("cleanlab", "audit") from error
    return cleanlab
