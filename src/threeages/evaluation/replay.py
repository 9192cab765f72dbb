"""The monitors run over predictions on disk, as the stream that they were."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threeages.errors import DataError, format_count
from threeages.evaluation.betting import LEVEL
from threeages.evaluation.drift import AnswerHistogram, DriftMonitor, DriftState
from threeages.evaluation.metrics import identity_codes
from threeages.evaluation.monitoring import RiskMonitor, RiskState
from threeages.evaluation.predictions import PROB_COLUMNS, PredictionTable
from threeages.inference.records import OK
from threeages.labels import AGE_GROUPS, UNKNOWN


@dataclass(frozen=True)
class Replay:
    """What the monitors say of a table; `drift` is None without a histogram to compare with.

    `by_identity` is true where each identity counted once: in the risk with the mean error of its answers, at
    the place of the first, in the drift with that answer. `unlabelled` and `unsure` are the numbers of rows
    that the risk leaves out, without a label and below the confidence.
    """

    risk: RiskState
    drift: DriftState | None
    by_identity: bool
    unlabelled: int
    unsure: int


def replay_table(
    table: PredictionTable,
    target_error: float,
    min_confidence: float,
    *,
    reference: AnswerHistogram | None = None,
    level: float = LEVEL,
) -> Replay:
    """Run the monitors over the answers of a table in the order of its rows, which must be that of time.

    Answers are the rows of status 'ok'; those with a label and a confidence of `min_confidence` or more count
    in the risk. Raises DataError where no monitor has a row, and ConfigError as the monitors do.
    """
    answered = np.asarray([status == OK for status in table.status], dtype=np.bool_)
    sure = table.scored() & (table.confidence >= min_confidence)
    if not (sure.any() or (reference and answered.any())):
        raise _lack(table, answered, min_confidence)
    known = table.identities()
    codes = np.arange(len(table)) if known is None else identity_codes(known)
    risk = RiskMonitor(target_error, level=level)
    wrong = table.probs[sure].argmax(axis=1) != table.labels[sure]
    for error in _mean_errors(wrong, codes[sure]):
        risk.update(float(error))
    drift = _replay_answers(table.probs[_first_rows(answered, codes)], reference, level)
    return Replay(
        risk.state, drift, known is not None, int((answered & ~table.scored()).sum()),
        int((table.scored() & ~sure).sum()),
    )  # fmt: skip


def create_histogram(table: PredictionTable) -> AnswerHistogram:
    """The histogram of a table's answers, of each identity the first; DataError without any answer."""
    answered = np.asarray([status == OK for status in table.status], dtype=np.bool_)
    if not answered.any():
        raise DataError("The predictions hold no answer.", hint="Give predictions on the calibration set.")
    known = table.identities()
    codes = np.arange(len(table)) if known is None else identity_codes(known)
    return AnswerHistogram.from_probs(table.probs[_first_rows(answered, codes)])


def _lack(table: PredictionTable, answered: NDArray[np.bool_], least: float) -> DataError:
    """What a table lacks of which no row counts in the risk: answers, labels, both in one row, confidence."""
    rows = format_count(table, "row")
    labelled, scored = table.labels != UNKNOWN, table.scored()
    if not answered.any():
        return DataError(
            f"None of {rows} has an answer: {', '.join(PROB_COLUMNS)} are empty, or the column status is "
            f"not '{OK}'.",
            hint="Give the predictions of a model that answered.",
        )
    if not labelled.any():
        return DataError(
            f"None of {rows} has a label: the column label is there, but empty.",
            hint=f"Write {', '.join(AGE_GROUPS)} where the true group is known. Answers without labels are "
            "watched with --reference.",
        )
    if not scored.any():
        return DataError(
            f"Of {rows} {int(labelled.sum()):,} have a label and {int(answered.sum()):,} an answer, but none "
            "has both.",
            hint="Label images that the model answered.",
        )
    return DataError(
        f"None of {format_count(int(scored.sum()), 'row')} with a label and an answer has a confidence of "
        f"{least:g} or more: the largest is {table.confidence[scored].max():.3f}.",
        hint="Look whether the threshold is that of the model which answered. Another one: --min-confidence.",
    )


def _replay_answers(
    probs: NDArray[np.float64], reference: AnswerHistogram | None, level: float
) -> DriftState | None:
    if reference is None:
        return None
    monitor = DriftMonitor(reference, level=level)
    for row in probs:
        monitor.update(row)
    return monitor.state


def _mean_errors(wrong: NDArray[np.bool_], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean error of each identity, in the order in which they first appear."""
    _, first, place = np.unique(codes, return_index=True, return_inverse=True)
    means: NDArray[np.float64] = np.bincount(place, wrong) / np.maximum(np.bincount(place), 1)
    return means[np.argsort(first)]


def _first_rows(mask: NDArray[np.bool_], codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first row of each identity among those of the mask, in their order."""
    rows = np.flatnonzero(mask)
    _, first = np.unique(codes[rows], return_index=True)
    return rows[np.sort(first)]
