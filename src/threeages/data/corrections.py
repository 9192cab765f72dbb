"""Decisions about labels: a csv that reviewers add to, one row a decision, and nothing is ever removed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from threeages.errors import DataError
from threeages.faces.images import load_image, pixel_digest
from threeages.files.csvfiles import Row, read_csv, write_rows
from threeages.files.locks import hold_lock
from threeages.labels import AGE_GROUPS

ACCEPTED, CORRECTED, SKIPPED = "accepted", "corrected", "skipped"
DECISIONS = (ACCEPTED, CORRECTED, SKIPPED)
Key = TypeVar("Key")
PATIENCE = 5.0  # seconds that another writer may take before the wait is said


@dataclass(frozen=True)
class Decision:
    """What a reviewer decided about the label of one image.

    `path` is as the manifest reviewed has it, and `digest` names the image's pixels in hexadecimal. `old` and
    `new` are names of age groups: the same where the label is `accepted`, and `new` is '' where the image was
    `skipped`. `time` is ISO 8601 in UTC.
    """

    path: str
    digest: str
    old: str
    new: str
    decision: str
    reviewer: str
    time: str


COLUMNS = tuple(field.name for field in fields(Decision))


def decide(path: str, file: Path, old: str, new: str, reviewer: str) -> Decision:
    """The decision of now about the image in a file; '' as `new` skips it. Raises ImageError."""
    kind = SKIPPED if not new else ACCEPTED if new == old else CORRECTED
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Decision(path, digest_image(file), old, new, kind, reviewer, now)


def digest_image(file: Path) -> str:
    """Hexadecimal digest of an image's pixels: a copy in another format without loss has the same."""
    return pixel_digest(load_image(file)).hex()


def read_decisions(path: Path) -> list[Decision]:
    """The rows of a corrections csv, oldest first; DataError where it is damaged or is no such file."""
    table = read_csv(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}, so it holds no corrections.",
            hint="Give a csv of 'threeages data review'.",
        )
    for line, row in zip(table.lines, table.rows, strict=True):
        if problem := _find_problem(row):
            raise DataError(f"{path}, line {line}: {problem}", hint="Correct that line, or delete it.")
    return [Decision(**{name: row[name] for name in COLUMNS}) for row in table.rows]


def add_decision(path: Path, decision: Decision) -> None:
    """Add a row to a corrections csv; the rows of other reviewers stay, also of those at work meanwhile.

    The file is replaced whole under a lock. Raises DataError where it is damaged or cannot be written.
    """
    with hold_lock(
        path.with_name(f".{path.name}.lock"),
        f"Another reviewer is writing {path}; waiting for it.",
        wait=True,
        patience=PATIENCE,
    ):
        known = read_decisions(path) if path.exists() else []
        write_rows(path, map(vars, [*known, decision]), COLUMNS)


def last_decisions(
    decisions: Iterable[Decision], places: Mapping[str, Key]
) -> dict[Key, dict[str, Decision]]:
    """The last decision of each reviewer, by the place of the image's path and then by reviewer."""
    found: dict[Key, dict[str, Decision]] = {}
    for decision in decisions:
        found.setdefault(places[decision.path], {})[decision.reviewer] = decision
    return found


def _find_problem(row: Row) -> str:
    """What is wrong with a row; '' where nothing is."""
    if row["decision"] not in DECISIONS:
        return f"The decision is '{row['decision']}'; allowed are {', '.join(DECISIONS)}."
    if row["old"] not in AGE_GROUPS:
        return f"The old label is '{row['old']}'; allowed are {', '.join(AGE_GROUPS)}."
    if row["new"] not in (("",) if row["decision"] == SKIPPED else AGE_GROUPS):
        return f"The new label of an image that was {row['decision']} is '{row['new']}'."
    if (row["decision"] == ACCEPTED) != (row["old"] == row["new"]):
        return f"The label {row['old']} was {row['decision']} as {row['new'] or 'nothing'}."
    return "" if row["path"] and row["digest"] else "The path or the digest is empty."
