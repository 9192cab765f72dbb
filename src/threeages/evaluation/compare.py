"""Runs side by side on the rows they share, with paired intervals of the differences of their metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import IDENTITY
from threeages.errors import DataError, format_count
from threeages.evaluation import metrics
from threeages.evaluation.answers import load_answers
from threeages.evaluation.enough import IMAGE, describe_too_few
from threeages.evaluation.predictions import PredictionTable, choose_predictions
from threeages.labels import UNKNOWN

METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
Difference = tuple[float, float, float]
Run = tuple[str, PredictionTable]


@dataclass(frozen=True)
class Comparison:
    """One run: its metrics, and (difference, low, high) of each from the first run's.

    `notes` say which images of the first run are left out because of this one, and where the images that all
    answered are too few to tell.
    """

    name: str
    n: int
    metrics: dict[str, float]
    differences: dict[str, Difference]
    notes: tuple[str, ...] = ()


def load_run(path: Path) -> PredictionTable:
    """The predictions of a run folder, or any program's answers in a csv; DataError where there are none."""
    return load_answers(choose_predictions(path))


def compare_tables(tables: Sequence[tuple[str, PredictionTable]]) -> list[Comparison]:
    """Score every table on the labelled paths that all of them answered; the first is the baseline.

    A table without any label, as a peer's, takes those of the first. The 95 % intervals of the differences
    resample identities where the first table knows them, else images. DataError where the first has no label,
    or the tables share no such path.
    """
    tables = [(name, _with_labels(tables[0][1], table)) for name, table in tables]
    if not (tables[0][1].labels != UNKNOWN).any():
        raise DataError(
            f"{tables[0][0]} holds no label.",
            hint="The first of the runs needs a column label with the true age groups.",
        )
    rows = [_scored_rows(table) for _, table in tables]
    shared = [path for path in rows[0] if all(path in other for other in rows[1:])]
    if not shared:
        raise _explain_disjoint(tables, rows)
    base = tables[0][1]
    picked = [np.asarray([found[path] for path in shared]) for found in rows]
    labels, first = base.labels[picked[0]], base.probs[picked[0]]
    for (name, table), at in zip(tables[1:], picked[1:], strict=True):
        if differing := np.flatnonzero(table.labels[at] != labels).tolist():
            raise DataError(
                f"{name} has another label than {tables[0][0]} for {format_count(differing, 'image')}, first "
                f"{shared[differing[0]]}.",
                hint="Compare predictions on one manifest.",
            )
    known = base.identities()
    identities = None if known is None else known[picked[0]]
    return [
        Comparison(
            name,
            len(shared),
            metrics.summarize(labels, table.probs[at]),
            metrics.paired_differences(labels, first, table.probs[at], identities),
            tuple(_describe_rows(tables[0], rows[0], table, scored, shared, identities)),
        )
        for (name, table), at, scored in zip(tables, picked, rows, strict=True)
    ]


def _describe_rows(
    base: Run,
    wanted: Mapping[str, int],
    table: PredictionTable,
    scored: Mapping[str, int],
    shared: Sequence[str],
    identities: NDArray[np.str_] | None,
) -> Iterator[str]:
    """What of the first run's scored rows `wanted` a table lacks; of the first run what is too little."""
    if table is base[1]:
        units = len(shared) if identities is None else len(np.unique(metrics.identity_codes(identities)))
        unit = IMAGE if identities is None else IDENTITY
        yield from filter(None, [describe_too_few(len(shared), units, unit, "were answered by all")])
        return
    paths = set(table.paths)
    absent = sum(path not in paths for path in wanted)
    silent = sum(path not in scored for path in wanted) - absent
    if absent or silent:
        counts = [f"{absent:,} are not in it"] if absent else []
        counts += [f"{silent:,} have no answer or no label in it"] if silent else []
        yield (
            f"of {format_count(len(wanted), 'scored image')} of {base[0]} {', and '.join(counts)}: they are "
            "left out for all."
        )
    if foreign := len(paths - set(base[1].paths)):
        yield f"{format_count(foreign, 'path')} in it {'is' if foreign == 1 else 'are'} not in {base[0]}."


def _explain_disjoint(tables: Sequence[Run], rows: Sequence[Mapping[str, int]]) -> DataError:
    """Why no image is scored in all tables: other paths, with one of each side by side, or no answers."""
    (first, base), wanted = tables[0], rows[0]
    for (name, table), scored in zip(tables[1:], rows[1:], strict=True):
        if any(path in scored for path in wanted):
            continue
        if common := len(set(base.paths) & set(table.paths)):
            return DataError(
                f"{first} and {name} share {format_count(common, 'path')}, but no labelled image that both "
                "answered.",
                hint="Give answers to labelled images; of runs those of one split and fold.",
            )
        mine, other, hint = _pair_paths(base.paths, table.paths)
        return DataError(
            f"{first} and {name} name no image alike: the first has paths like '{mine}', the second like "
            f"'{other}'.",
            hint=hint or "Compare answers to the same images; of runs those of one split and fold.",
        )
    return DataError(
        f"No image is answered by all of {', '.join(name for name, _ in tables)}.",
        hint="Compare fewer of them at a time.",
    )


def _pair_paths(first: Sequence[str], second: Sequence[str]) -> tuple[str, str, str]:
    """A path of either side, of one image where their ends say so, and what to do about it."""
    by_name = {_end(path): path for path in first}
    for other in second:
        mine = by_name.get(_end(other))
        if mine is not None:
            return mine, other, f"If these are one image, write the paths of the second file as '{mine}'."
    return next(iter(first), ""), next(iter(second), ""), ""


def _end(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _with_labels(base: PredictionTable, table: PredictionTable) -> PredictionTable:
    """The table with the labels of the base by path, where it has none at all."""
    if (table.labels != UNKNOWN).any():
        return table
    known = dict(zip(base.paths, base.labels.tolist(), strict=True))
    return replace(table, labels=np.asarray([known.get(path, UNKNOWN) for path in table.paths], np.int64))


def _scored_rows(table: PredictionTable) -> dict[str, int]:
    """Row of every path with an answer and a known label."""
    rows = np.flatnonzero(table.scored()).tolist()
    return {table.paths[i]: i for i in rows}
