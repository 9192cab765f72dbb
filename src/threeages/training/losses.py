"""Heads, targets and the joint loss of several labels, which skips what a row does not know."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threeages.data.ages import parse_years, read_interval
from threeages.data.columns import AGE_HIGH, AGE_LOW
from threeages.data.manifest import Manifest
from threeages.data.split import Rows
from threeages.errors import ConfigError
from threeages.labels import UNKNOWN, YEARS
from threeages.models.heads import MAIN, MAX_AGE, Head, HeadSpec, years_spec

Targets = dict[str, NDArray[Any]]
MAX_CLASSES = 50  # a column of more distinct values holds names or numbers, not classes
YEARS_COLUMN = "age"
HINT = (
    f"A head needs a column of 2 to {MAX_CLASSES} distinct values; that for '{YEARS}' reads the column age."
)


def create_heads(head: str, extra: Iterable[str], manifest: Manifest) -> tuple[HeadSpec, ...]:
    """The age groups' head of kind `head`, and one for each further name.

    `years` reads the column `age`; any other name is a column whose distinct values are its classes. Raises
    ConfigError where the manifest lacks the column or it holds nothing to learn.
    """
    return (HeadSpec(kind=head), *(_create_spec(name, manifest) for name in extra))


def find_column(head: str) -> str:
    """The manifest's column that a further head reads."""
    return YEARS_COLUMN if head == YEARS else head


def collect_targets(manifest: Manifest, heads: Iterable[HeadSpec]) -> Targets:
    """Class index int64 `(n,)` by head, UNKNOWN (-1) where the row has no label or no possible age.

    Years are `(n, 2)`, the first and the last year that an age may be, where a row has a range of ages
    (`age_low`, `age_high`); the range goes before the age. `find_known` says which rows have a label.
    """
    targets: Targets = {}
    for spec in heads:
        if spec.name == MAIN:
            targets[MAIN] = manifest.labels
        elif spec.name == YEARS:
            targets[YEARS] = _collect_years(manifest)
        else:
            index = {name: i for i, name in enumerate(spec.classes)}
            values = [index.get(v, UNKNOWN) for v in _read_column(manifest, spec.name)]
            targets[spec.name] = np.asarray(values, dtype=np.int64)
    return targets


def find_known(target: Tensor) -> Tensor:
    """Mask bool `(n,)` of the rows with a label."""
    return (target if target.ndim == 1 else target[:, 0]) != UNKNOWN


def head_losses(
    heads: Mapping[str, Head], logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """By head the mean loss of the rows that have a label for it; none where no row has."""
    found: dict[str, Tensor] = {}
    for name, head in heads.items():
        known = find_known(targets[name])
        if known.any():
            found[name] = head.loss(logits[name][known].float(), targets[name][known])
    return found


def joint_loss(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of losses by name, 0 without any; the weight is 1 where none is given."""
    total = torch.zeros(())
    for name, loss in losses.items():
        total = total + weights.get(name, 1.0) * loss
    return total


def head_metrics(
    heads: Mapping[str, Head], logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, float]:
    """Loss and accuracy of the age groups, and of every further head its metric, such as `years_mae`.

    Each over the rows that have a label for it; a metric without such a row is absent, never 0.
    """
    found: dict[str, float] = {}
    for name, head in heads.items():
        known = find_known(targets[name])
        if not known.any():
            continue
        scores, labels = logits[name][known], targets[name][known]
        metric, value = head.metric(scores, labels)
        if name == MAIN:
            found |= {"loss": float(head.loss(scores, labels)), metric: value}
        else:
            found[f"{name}_{metric}"] = value
    return found


def _create_spec(name: str, manifest: Manifest) -> HeadSpec:
    if problem := find_head_problem(name, manifest):
        raise ConfigError(problem, hint=f"It has the columns {', '.join(manifest.columns) or 'none'}. {HINT}")
    if name == YEARS:
        return years_spec()
    return HeadSpec(name, "softmax", tuple(sorted(_find_values(name, manifest, range(len(manifest))))))


def find_head_problem(name: str, manifest: Manifest, rows: Sequence[int] | Rows | None = None) -> str | None:
    """Why a further head has nothing to learn from these rows (all by default), in a sentence; else None."""
    column = find_column(name)
    if column not in manifest.columns:
        return f"The manifest has no column {column}."
    values = _find_values(name, manifest, range(len(manifest)) if rows is None else rows)
    where = f"The column {column}" if rows is None else f"In the train rows the column {column}"
    kind = "ages in years" if name == YEARS else "values"
    if not values:
        return f"{where} holds no {kind}; a head for {name} has nothing to learn."
    if len(values) == 1:
        return f"{where} holds nothing but {next(iter(values))}; a head for {name} has nothing to learn."
    if len(values) > MAX_CLASSES and name != YEARS:
        return f"{where} has {len(values)} distinct values, which are no classes to learn."
    return None


def _find_values(name: str, manifest: Manifest, rows: Sequence[int] | Rows) -> set[str]:
    """The distinct classes, or ages, that some rows have for a further head."""
    if name == YEARS:
        years = _collect_years(manifest)[np.asarray(rows, dtype=np.int64)]
        found = {tuple(np.atleast_1d(row).tolist()) for row in years}
        return {"-".join(map(str, dict.fromkeys(ends))) for ends in found if ends[0] != UNKNOWN}
    cells = manifest.columns[find_column(name)]
    return {cells[row] for row in rows} - {""}


def has_values(name: str, manifest: Manifest, rows: Sequence[int] | Rows) -> bool:
    """Whether one of these rows has a class, or an age, for a further head."""
    return bool(_find_values(name, manifest, rows))


def _read_column(manifest: Manifest, name: str) -> tuple[str, ...]:
    if name not in manifest.columns:
        raise ConfigError(
            f"The manifest has no column {name}.", hint=f"It has {', '.join(manifest.columns) or 'none'}."
        )
    return manifest.columns[name]


def _collect_years(manifest: Manifest) -> NDArray[np.int64]:
    ages = np.asarray([_parse_age(v) for v in _read_column(manifest, YEARS_COLUMN)], dtype=np.int64)
    empty = ("",) * len(manifest)
    ends = (manifest.columns.get(name, empty) for name in (AGE_LOW, AGE_HIGH))
    ranges = [read_interval(low, high) for low, high in zip(*ends, strict=True)]
    if not any(ranges):
        return ages
    years = np.stack([ages, ages], axis=1)
    for row, found in enumerate(ranges):
        if found is not None:
            years[row] = min(round(found.low), MAX_AGE), min(round(found.high), MAX_AGE)
    return years


def _parse_age(text: str) -> int:
    years = parse_years(text)
    return UNKNOWN if years is None else min(round(years), MAX_AGE)
