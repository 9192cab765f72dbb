"""From predictions to an Evaluation: metrics overall, by class and by slice, with intervals by identity."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.checks import describe_ages, find_groups
from threeages.data.correcting import count_corrections
from threeages.data.manifest import IDENTITY, Manifest
from threeages.errors import DataError, format_count
from threeages.evaluation import metrics
from threeages.evaluation.age_thresholds import TARGET_RATES, AgeThresholds, evaluate_age_thresholds
from threeages.evaluation.brackets import BracketEvaluation, evaluate_brackets
from threeages.evaluation.corrected import describe_corrections
from threeages.evaluation.enough import IMAGE, LEAST_UNITS, describe_small_groups, describe_too_few
from threeages.evaluation.predictions import AGE_COLUMNS, PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.selective import compute_risk_coverage
from threeages.evaluation.slices import SliceAudit, Slices, audit_slices
from threeages.evaluation.trained_on import describe_trained
from threeages.inference.brackets import Brackets
from threeages.inference.records import OK
from threeages.labels import AGE_GROUPS, UNKNOWN

NO_LABEL = "no_label"  # counted with the failed rows: the model answered, but no label is known


@dataclass(frozen=True)
class Evaluation:
    """How good the predictions are.

    `n` rows were scored and `n_failed` were not; `failed` counts those by status. `metrics` are those of
    `metrics.summarize`, and `intervals` their 95 % intervals over `units` units, each a `unit`: 'identity' or
    'image'. `confusion` is int64 `(3, 3)`, row the label, column the prediction. `risk_coverage` is the
    selective risk by coverage. `years` scores apparent ages, None where the table has none. `corrections`
    counts the scored labels that a review corrected, by its file. `notes` are warnings that belong beside
    every metric. `slice_audit` holds the metrics by slice, and the gaps between slices. `brackets` and
    `age_thresholds` are None where they were not asked for.
    """

    n: int
    n_failed: int
    failed: dict[str, int]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    unit: str
    units: int
    per_class: dict[str, dict[str, float]]
    confusion: NDArray[np.int64]
    reliability: list[dict[str, float]]
    risk_coverage: list[dict[str, float]]
    years: dict[str, float] | None
    provenance: Provenance = field(default_factory=Provenance)
    label_notes: tuple[str, ...] = ()
    corrections: dict[str, int] = field(default_factory=dict)
    slice_audit: SliceAudit = field(default_factory=SliceAudit)
    brackets: BracketEvaluation | None = None
    age_thresholds: AgeThresholds | None = None

    @property
    def slices(self) -> Slices:
        """Metrics with their intervals by column and value; `slice_audit` holds pairs of columns and gaps."""
        return self.slice_audit.slices

    @property
    def too_few(self) -> bool:
        """Whether the units are too few to tell how good the predictions are."""
        return self.units < LEAST_UNITS

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings to show wherever a metric is shown, such as that of a random split or an absent class."""
        return (*self.provenance.notes(), *self.label_notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the metrics at top level; None where a metric is not defined."""
        intervals = {"unit": self.unit, "units": self.units, "level": 0.95, **self.intervals}
        raw = {
            "n": self.n,
            "n_failed": self.n_failed,
            **self.metrics,
            "per_class": self.per_class,
            "confidence_intervals": intervals,
            "failed": self.failed,
            "slices": self.slices,
            **self.slice_audit.to_dict(),
            "confusion": self.confusion.tolist(),
            "reliability": self.reliability,
            "risk_coverage": self.risk_coverage,
            "years": self.years,
            "corrections": self.corrections,
            **({"brackets": self.brackets.to_dict()} if self.brackets else {}),
            **({"age_thresholds": self.age_thresholds.to_dict()} if self.age_thresholds else {}),
            **asdict(self.provenance),
            "notes": list(self.notes),
        }
        return {key: plain_values(value) for key, value in raw.items()}


@dataclass(frozen=True)
class AgeQuestions:
    """What else to evaluate where the rows have ages: brackets, and limits of age with target rates."""

    brackets: Brackets | None = None
    limits: Sequence[int] = ()
    target_rates: Sequence[float] = TARGET_RATES


def evaluate_table(
    table: PredictionTable, *, resamples: int = 1000, seed: int = 0, ages: AgeQuestions | None = None
) -> Evaluation:
    """Score every row that has a label and an answer; DataError where there is none.

    Failed rows count in `failed` and in no metric, so report both. The intervals come from `resamples`
    resamples of identities, seeded by `seed`. `ages` asks for brackets of ages and age thresholds; DataError
    where no row has the ages that they need.
    """
    asked = ages or AgeQuestions()
    rows, failed = scored_rows(table), _failed(table)
    labels, probs = table.labels[rows], table.probs[rows]
    identities = find_identities(table, rows)
    return Evaluation(
        n=len(rows),
        n_failed=len(table) - len(rows),
        failed=failed,
        metrics=metrics.summarize(labels, probs),
        intervals=metrics.bootstrap_by_identity(labels, probs, identities, n=resamples, seed=seed),
        unit=IMAGE if identities is None else IDENTITY,
        units=len(rows) if identities is None else int(metrics.identity_codes(identities).max()) + 1,
        per_class=metrics.per_class(labels, probs),
        confusion=metrics.confusion_matrix(labels, probs),
        reliability=metrics.reliability_bins(labels, probs),
        risk_coverage=compute_risk_coverage(labels, probs),
        years=_evaluate_years(table, rows, identities, resamples, seed),
        provenance=table.provenance,
        label_notes=tuple(describe_labels(table)),
        corrections=count_corrections(table.columns, rows.tolist()),
        slice_audit=audit_slices(
            {name: [values[i] for i in rows] for name, values in table.columns.items()},
            labels,
            probs,
            identities,
            resamples=resamples,
            seed=seed,
        ),
        brackets=evaluate_brackets(table, asked.brackets, resamples=resamples, seed=seed)
        if asked.brackets
        else None,
        age_thresholds=evaluate_age_thresholds(table, asked.limits, target_rates=asked.target_rates)
        if asked.limits
        else None,
    )


def scored_rows(table: PredictionTable) -> NDArray[np.int64]:
    """Indices of the rows that can be scored; DataError without any."""
    rows = np.flatnonzero(table.scored())
    if not len(rows):
        counts = ", ".join(f"{k}: {v}" for k, v in _failed(table).items()) or "the table is empty"
        raise DataError(
            f"None of {format_count(len(table), 'prediction')} can be scored ({counts}).",
            hint=f"At least one row needs a label and the status '{OK}'.",
        )
    return rows


def find_identities(table: PredictionTable, rows: NDArray[np.int64]) -> NDArray[np.str_] | None:
    """Identity of these rows `(n,)`, '' where it is not known; None where no row names any."""
    known = table.identities()
    return None if known is None or not any(known[rows]) else known[rows]


def describe_labels(table: PredictionTable) -> Iterator[str]:
    """What belongs beside metrics: rows trained on, too few rows, absent classes, images twice, and more."""
    yield from describe_trained(table)
    rows = np.flatnonzero(table.scored())
    yield from _describe_few(table, rows)
    groups = find_groups(table.labels[rows])
    if len(groups) == 1:
        yield (
            f"Every scored image is {groups[0]}: balanced accuracy, macro F1 and kappa are not defined, "
            "and no other age group is measured."
        )
    elif len(groups) < len(AGE_GROUPS):
        absent = next(name for name in AGE_GROUPS if name not in groups)
        yield f"No scored image is {absent}: balanced accuracy and macro F1 are means over the other two."
    twice = len(table) - len(set(table.paths))
    if twice:
        verb = "repeats" if twice == 1 else "repeat"
        yield f"{format_count(twice, 'row')} {verb} the path of another row, and every row counts."
    yield from describe_corrections(table)
    yield from describe_ages(Manifest(Path(), table.paths, table.labels, table.columns))


def _describe_few(table: PredictionTable, rows: NDArray[np.int64]) -> Iterator[str]:
    """Where all scored rows are too few to tell, or those of an age group."""
    identities = find_identities(table, rows)
    unit = IMAGE if identities is None else IDENTITY
    units = np.arange(len(rows)) if identities is None else metrics.identity_codes(identities)
    few = describe_too_few(len(rows), len(np.unique(units)), unit)
    yield from [few] if few else describe_small_groups(table.labels[rows], units, unit)


def _evaluate_years(
    table: PredictionTable,
    rows: NDArray[np.int64],
    identities: NDArray[np.str_] | None,
    resamples: int,
    seed: int,
) -> dict[str, float] | None:
    """Mean absolute error in years with its interval, and coverage of the rows' own intervals.

    Over the rows with both ages, None without any; an age that is known as a range alone has no error.
    """
    age, predicted, low, high = (v[rows] for v in (table.ages(), *map(table.numbers, AGE_COLUMNS)))
    known = np.isfinite(age) & np.isfinite(predicted)
    if not known.any():
        return None
    inside = (low <= age) & (age <= high)
    covered = float(inside[known].mean()) if np.isfinite(low[known]).all() else math.nan
    errors = np.abs(predicted - age)[known]
    members = None if identities is None else identities[known]
    low_mae, high_mae = metrics.bootstrap_mean(errors, members, n=resamples, seed=seed)
    return {
        "n": int(known.sum()),
        "mae": float(errors.mean()),
        "mae_low": low_mae,
        "mae_high": high_mae,
        "interval_coverage": covered,
    }


def _failed(table: PredictionTable) -> dict[str, int]:
    reasons = (
        status if status != OK else NO_LABEL
        for status, label in zip(table.status, table.labels, strict=True)
        if status != OK or label == UNKNOWN
    )
    return dict(sorted(Counter(reasons).items()))


def plain_values(value: Any) -> Any:
    """The value for JSON, with None for a number that is not finite and lists for tuples."""
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
