"""Any program's answers on disk, such as a peer's: probabilities, an age group or an age in years."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from threeages.data.columns import AGE, LABEL_NAMES, PATH_NAMES, pick_column
from threeages.data.manifest import rename_columns
from threeages.errors import DataError
from threeages.evaluation.predictions import PROB_COLUMNS, PredictionTable, parse_predictions
from threeages.files.csvfiles import CsvTable, Row, read_csv
from threeages.labels import AGE_GROUPS, AgeBounds, label_index

LABEL, GROUP, YEARS = "label", "age_group", "predicted_age"
GROUP_NAMES = (GROUP, "predicted_group", "prediction", "predicted_label", "answer")
YEARS_NAMES = (YEARS, "predicted_years", "estimated_age", "years")
OLDEST = 150.0


def load_answers(path: Path) -> PredictionTable:
    """Read a csv with a column path and an answer of one kind or more.

    A row's answer is its probabilities `prob_young`, `prob_middle` and `prob_old`, else its `age_group`, else
    the group of its `predicted_age` in years, of which one below 13 counts as YOUNG; the last two get all
    probability. A row without any has no answer. `label` is the true group and may be absent; in a file of
    paths with nothing but `label` or `age` beside them, that is the answer. Raises DataError as
    `load_predictions` does, and where there is no path or no answer.
    """
    table = _name_columns(path, read_csv(path))
    rows = []
    for line, row in zip(table.lines, table.rows, strict=True):
        try:
            rows.append(_fill_probs(row))
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error.message}", hint=error.hint) from error
    columns = tuple(dict.fromkeys((*table.columns, LABEL, *PROB_COLUMNS)))
    return parse_predictions(path, replace(table, columns=columns, rows=tuple(rows)))


def _name_columns(path: Path, table: CsvTable) -> CsvTable:
    """The table with its columns named as in predictions; raises DataError where it has no answer."""
    names = {"path": PATH_NAMES, GROUP: GROUP_NAMES, YEARS: YEARS_NAMES, LABEL: (LABEL,)}
    names |= {name: (name,) for name in (*PROB_COLUMNS, "status")}
    found = {pick_column(table.columns, usual): own for own, usual in names.items()}
    given = ", ".join(table.columns) or "none"  # as the file has them
    table = rename_columns(table, {old: own for old, own in found.items() if old is not None})
    if not {GROUP, YEARS, PROB_COLUMNS[0]} & set(table.columns):
        table = rename_columns(table, _find_only_answer(table.columns))
    lacking = [name for name in PROB_COLUMNS if name not in table.columns]
    answers = {GROUP, YEARS} & set(table.columns) or not lacking
    if "path" not in table.columns or not answers:
        what = "the images" if "path" not in table.columns else "the answers"
        raise DataError(
            f"{path} has no column that is known to hold {what}; its columns are {given}.",
            hint=f"Rename its columns: path is the image, and the answer is {', '.join(PROB_COLUMNS)} "
            f"together, or {GROUP}, or {YEARS} (in years).",
        )
    return table


def _find_only_answer(columns: Sequence[str]) -> dict[str, str]:
    """What to rename so that a label, or an age, is the answer where it is all there is."""
    label, age = pick_column(columns, LABEL_NAMES), pick_column(columns, (AGE,))
    if label and age:
        return {age: YEARS}  # the label is the true one
    return {label: GROUP} if label else {age: YEARS} if age else {}


def _fill_probs(row: Row) -> Row:
    """The row with a label, which may be empty, and with the probabilities of its answer."""
    row = {LABEL: ""} | row
    if any(row.get(name) for name in PROB_COLUMNS):
        return row
    group = _find_group(row)
    probs = ["" if group is None else str(float(i == group)) for i in range(len(AGE_GROUPS))]
    return row | dict(zip(PROB_COLUMNS, probs, strict=True))


def _find_group(row: Row) -> int | None:
    """The index of the group that a row answers; None without an answer."""
    if row.get(GROUP):
        return label_index(row[GROUP])
    if not row.get(YEARS):
        return None
    years = _parse_years(row[YEARS])
    return AgeBounds().label(max(years, AgeBounds().young))


def _parse_years(text: str) -> float:
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        years = math.nan
    if not 0 <= years <= OLDEST:
        raise DataError(f"The predicted age is {text!r}.", hint="Give years, such as 34.5, or an empty cell.")
    return years
