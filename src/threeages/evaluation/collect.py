"""Tables of predictions, from records or from the outputs of a model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import InvalidRow, Manifest
from threeages.data.split import Rows
from threeages.evaluation.predictions import AGE_COLUMNS, REJECTION_REASON, PredictionTable
from threeages.evaluation.years import describe_years, format_distribution
from threeages.faces.images import Pixels
from threeages.inference.answer import apparent_age
from threeages.inference.brackets import EVERY_YEAR
from threeages.inference.classify import BATCH, FaceClassifier, Output
from threeages.inference.predictor import Predictor
from threeages.inference.records import ABSTAINED, OK, Record
from threeages.labels import UNKNOWN, YEARS


def predict_table(
    predictor: Predictor,
    manifest: Manifest,
    faults: Sequence[InvalidRow] = (),
    *,
    watch: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> PredictionTable:
    """One row per image of a manifest, for its largest face, then one row per fault; no row is dropped.

    A face that was found but rejected (too small, blurred, uncertain) is scored by its probabilities all the
    same, so that rejecting faces improves no metric; the column `rejection_reason` says why. Models
    with years add the columns `predicted_age`, `predicted_low`, `predicted_high` and `age_distribution`.
    `watch` wraps the files, such as in a progress bar.
    """
    files = manifest.files()
    first: dict[str, Record] = {}
    years: dict[str, str] = {}
    for record in _with_every_year(predictor).predict(watch(files)):
        if record.path not in first:  # the distribution as text, as 101 numbers of each take much memory
            years[record.path] = format_distribution([*record.brackets.values()]) if record.brackets else ""
            first[record.path] = replace(record, brackets=None)
    records = [first[str(file)] for file in files]
    nothing = (np.nan,) * 3
    probs = [tuple(r.probs.values()) if r.probs else nothing for r in records] + [nothing] * len(faults)
    array = np.asarray(probs, dtype=np.float64).reshape(-1, 3)
    temperature = predictor.classifier.policy.years_temperature
    distributions = describe_years((years[str(file)] for file in files), temperature)
    columns = manifest.columns | _record_columns(records) | distributions
    return PredictionTable(
        (*manifest.paths, *(f"{fault.path} (line {fault.line})" for fault in faults)),
        np.concatenate([manifest.labels, np.full(len(faults), UNKNOWN, dtype=np.int64)]),
        (*(OK if r.probs else r.status for r in records), *(fault.status for fault in faults)),
        array,
        array.max(axis=1),
        {name: (*values, *("",) * len(faults)) for name, values in columns.items()},
    )


def _record_columns(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """Columns of what records hold beyond the probabilities, without those that are empty."""
    columns = {
        REJECTION_REASON: tuple(r.status if r.probs and r.status in ABSTAINED else "" for r in records)
    }
    for column, name in AGE_COLUMNS.items():
        columns[column] = tuple("" if getattr(r, name) is None else str(getattr(r, name)) for r in records)
    return {column: values for column, values in columns.items() if any(values)}


def _with_every_year(predictor: Predictor) -> Predictor:
    """The predictor whose records hold the model's own distribution over years, where it gives one."""
    model, policy = predictor.classifier.model, predictor.classifier.policy
    if not model.has_years:
        return predictor
    found = copy(predictor)
    found.classifier = FaceClassifier(model, replace(policy, brackets=EVERY_YEAR, years_temperature=1.0))
    return found


def answer_table(
    manifest: Manifest, rows: Rows, answers: Mapping[str, NDArray[np.float32]]
) -> PredictionTable:
    """The given rows of a manifest with outputs of a model by name: probs `(n, 3)`, years if it has them."""
    held = manifest.select(rows)
    p = np.asarray(answers["probs"], dtype=np.float64)
    columns = dict(held.columns)
    if YEARS in answers:
        ages = [apparent_age(years) for years in answers[YEARS]]
        columns |= {
            name: tuple(map(str, v)) for name, v in zip(AGE_COLUMNS, zip(*ages, strict=True), strict=True)
        }
        columns |= describe_years(map(format_distribution, answers[YEARS]))
    return PredictionTable(held.paths, held.labels, (OK,) * len(held), p, p.max(axis=1), columns)


def predict_rows(
    predict_all: Callable[[Pixels], Output], pixels: Pixels, rows: Rows
) -> dict[str, NDArray[np.float32]]:
    """A model's outputs by name for some rows `(n,)` of uint8 `(m, size, size, 3)`: probs and any years.

    `predict_all` answers one batch, such as `OnnxModel.predict_all`.
    """
    batches = (pixels[rows[start : start + BATCH]] for start in range(0, len(rows), BATCH))
    probs, years = zip(*map(predict_all, batches), strict=True)
    outputs = {"probs": np.concatenate(probs)}
    return outputs if years[0] is None else outputs | {YEARS: np.concatenate(years)}
