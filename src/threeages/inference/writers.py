"""Records as csv or as lines of JSON; the one place that defines the columns of the csv."""

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from threeages.inference.brackets import Brackets
from threeages.inference.records import Record
from threeages.labels import AGE_GROUPS

SET_SEPARATOR = "|"  # between the age groups of a prediction set
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Column:
    """One column of the csv.

    `keys` lead to its value inside `Record.to_dict()`, and `digits` is the number of decimals of a float.
    The page of the service gets these from `/v1/model` and writes the same csv by the same rules.
    """

    name: str
    keys: tuple[str | int, ...]
    digits: int | None = None


COLUMNS = (
    Column("path", ("path",)),
    Column("status", ("status",)),
    *(Column(name, ("box", i)) for i, name in enumerate(("x1", "y1", "x2", "y2"))),
    Column("age_group", ("age_group",)),
    *(Column(f"prob_{group.lower()}", ("probs", group), digits=6) for group in AGE_GROUPS),
    Column("confidence", ("confidence",), digits=6),
    *(Column(name, (name,), digits=1) for name in ("age", "age_low", "age_high")),
    Column("age_set", ("age_set",)),
    Column("message", ("message",)),
)


class LineStream(Protocol):
    """Takes text and writes it out on request, as every text file does."""

    def write(self, text: str, /) -> object:
        """Take a text."""

    def flush(self) -> None:
        """Write out what was taken."""


def list_columns(brackets: Brackets | None = None) -> tuple[Column, ...]:
    """The columns of the csv, with one for the probability of each bracket of ages."""
    names = () if brackets is None else brackets.names
    return (*COLUMNS, *(Column(bracket_column(name), ("brackets", name), digits=6) for name in names))


def bracket_column(name: str) -> str:
    """The column of a bracket's probability, such as prob_13_17 for 13-17 and prob_50_up for 50+."""
    return "prob_" + name.replace("-", "_").replace("+", "_up")


def write_records(
    records: Iterable[Record], out: LineStream, kind: str, brackets: Brackets | None = None
) -> None:
    """Write and flush records as they come: `jsonl` as a JSON object a line, `csv` as rows below a header.

    The csv has a column for each of the `brackets` that the predictor was given.
    """
    if kind == "jsonl":
        for record in records:
            out.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
            out.flush()
        return
    columns = list_columns(brackets)
    out.write(",".join(column.name for column in columns) + "\n")
    out.flush()
    for record in records:
        raw = record.to_dict()
        out.write(",".join(_cell(raw, column) for column in columns) + "\n")
        out.flush()


def format_records(records: Iterable[Record], kind: str, brackets: Brackets | None = None) -> str:
    """The text that `write_records` writes."""
    out = io.StringIO()
    write_records(records, out, kind, brackets)
    return out.getvalue()


def escape_formula(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would take it for a formula.

    File names may come from strangers (OWASP, "CSV injection").
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _cell(raw: dict[str, Any], column: Column) -> str:
    """The text of one cell; written by hand, as versions of the csv module differ in what they quote."""
    value: Any = raw
    for key in column.keys:
        value = None if value is None else value.get(key) if isinstance(value, dict) else value[key]
    if value is None:
        return ""
    if column.digits is not None:
        return f"{value:.{column.digits}f}"
    text = escape_formula(SET_SEPARATOR.join(value) if isinstance(value, list) else str(value))
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
