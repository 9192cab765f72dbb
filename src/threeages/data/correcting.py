"""Corrections applied to a manifest: by name and picture, counted, and marked in the rows they changed."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from threeages.data.ages import parse_years
from threeages.data.columns import AGE, AGE_HIGH, AGE_LOW
from threeages.data.corrections import (
    ACCEPTED,
    SKIPPED,
    Decision,
    digest_image,
    last_decisions,
    read_decisions,
)
from threeages.data.manifest import Manifest
from threeages.errors import DataError, ImageError, format_count
from threeages.files.checksums import digest_file
from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds, label_index

logger = logging.getLogger(__name__)

CORRECTED_FROM = "corrected_from"  # column: the label before it was corrected, '' in all other rows
CORRECTIONS = "corrections"  # column: the file that corrected the row, by the start of its sha256
SHORT = 12  # hexadecimal digits of it
AGES = (AGE, AGE_LOW, AGE_HIGH)

CHANGED, CONFIRMED = "corrected", "accepted"
BEFORE = "corrected before"  # the manifest has the new label already
DISAGREED = "reviewers disagree"
ABSENT, AMBIGUOUS = "not in the manifest", "several images of that name"
OTHER_IMAGE, OTHER_LABEL = "another image", "another label"

Place = int | tuple[str, str]  # a row, or why there is none, and the path


@dataclass(frozen=True)
class Corrected:
    """A manifest with corrected labels.

    `counts` are images of the corrections file by what became of them, `sha256` is the file's, and `emptied`
    counts rows that lost an age that contradicts their corrected label.
    """

    manifest: Manifest
    file: str
    sha256: str
    counts: dict[str, int] = field(default_factory=dict)
    emptied: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the sidecar of a manifest."""
        return {"file": self.file, "sha256": self.sha256, **self.counts}

    def notes(self) -> Iterator[str]:
        """What was applied and what was not, a sentence each."""
        done = format_count(self.counts.get(CHANGED, 0), "label")
        yield f"{done} corrected by {self.file} ({self.sha256[:SHORT]})"
        kept = [f"{name} {self.counts[name]:,}" for name in self.counts if name != CHANGED]
        if kept:
            yield f"labels of that file left as they are: {', '.join(kept)}"
        if self.emptied:
            yield f"{format_count(self.emptied, 'age')} that contradict a corrected label left out"


def apply_corrections(
    manifest: Manifest,
    path: Path,
    bounds: AgeBounds = AgeBounds(),  # noqa: B008 - frozen
) -> Corrected:
    """The manifest with the labels that a corrections csv puts right.

    An image is found by its path, or by the end of it where the manifest's root is another, and must have the
    pixels that were reviewed and the label that was corrected. Where the last decisions of two reviewers
    differ, the label stays. A row that changes has its former label in the column CORRECTED_FROM; an age that
    `bounds` put into another group is emptied. Raises DataError where the file is damaged, and where it
    names no image of the manifest.
    """
    decisions = read_decisions(path)
    places = _match_paths(manifest.paths, {decision.path for decision in decisions})
    labels, counts = manifest.labels.copy(), Counter[str]()
    sha256, changed = digest_file(path), []
    names, files = (_cells(manifest, name) for name in (CORRECTED_FROM, CORRECTIONS))
    decided = last_decisions(decisions, places)
    for place, by_reviewer in decided.items():
        outcome, new = _settle(manifest, place, list(by_reviewer.values()))
        counts[outcome] += 1
        if isinstance(place, int) and new:
            first = names[place] or AGE_GROUPS[labels[place]]
            names[place], files[place] = ("", "") if first == new else (first, sha256[:SHORT])
            labels[place] = label_index(new)
            changed.append(place)
    _check_matched(path, counts, len(decided))
    columns = dict(manifest.columns)
    if changed:
        columns |= {CORRECTED_FROM: tuple(names), CORRECTIONS: tuple(files)}
    found = replace(manifest, labels=labels, columns=columns)
    found, emptied = _empty_ages(found, changed, bounds)
    return Corrected(found, path.name, sha256, dict(sorted(counts.items())), emptied)


def count_corrections(
    columns: Mapping[str, Sequence[str]], rows: Sequence[int] | None = None
) -> dict[str, int]:
    """Rows with a corrected label by the file that corrected them (start of its sha256); of `rows` alone."""
    names, files = columns.get(CORRECTED_FROM, ()), columns.get(CORRECTIONS, ())
    chosen = range(len(names)) if rows is None else rows
    if not names:
        return {}
    return dict(Counter((files[i] if files else "") or "unknown" for i in chosen if names[i]))


def _settle(manifest: Manifest, place: Place, decisions: Sequence[Decision]) -> tuple[str, str]:
    """What becomes of the label of one image, and the new one, '' where it stays."""
    firm = [decision for decision in decisions if decision.decision != SKIPPED]
    if not isinstance(place, int):
        return place[0], ""
    if not firm:
        return SKIPPED, ""
    if len({decision.new for decision in firm}) > 1:
        return DISAGREED, ""
    new = firm[-1].new
    if not _shows(manifest.root / manifest.paths[place], firm[-1].digest):
        return OTHER_IMAGE, ""
    label = int(manifest.labels[place])
    if label == label_index(new):
        return (CONFIRMED if firm[-1].decision == ACCEPTED else BEFORE), ""
    known = label != UNKNOWN and AGE_GROUPS[label] in {decision.old for decision in firm}
    return (CHANGED, new) if known else (OTHER_LABEL, "")


def _shows(file: Path, digest: str) -> bool:
    try:
        return digest_image(file) == digest
    except ImageError:
        return False


def _match_paths(paths: Sequence[str], wanted: Iterable[str]) -> dict[str, Place]:
    """The row of each path wanted, or why there is none."""
    exact = {path: row for row, path in enumerate(paths)}
    by_name: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        by_name.setdefault(PurePosixPath(path).name, []).append(row)
    found: dict[str, Place] = {}
    for path in wanted:
        rows = [exact[path]] if path in exact else by_name.get(PurePosixPath(path).name, [])
        rows = [row for row in rows if _ends_alike(paths[row], path)]
        found[path] = rows[0] if len(rows) == 1 else (AMBIGUOUS if rows else ABSENT, path)
    return found


def _cells(manifest: Manifest, name: str) -> list[str]:
    return list(manifest.columns.get(name, ("",) * len(manifest)))


def _ends_alike(one: str, other: str) -> bool:
    """Whether one path is the end of the other, by whole names."""
    a, b = sorted((PurePosixPath(one).parts, PurePosixPath(other).parts), key=len)
    return b[len(b) - len(a) :] == a


def _check_matched(path: Path, counts: Counter[str], total: int) -> None:
    if total and counts[ABSENT] == total:
        raise DataError(
            f"None of {format_count(total, 'image')} in {path} is in the manifest.",
            hint="Give the corrections of this data set.",
        )
    if total and counts[ABSENT] + counts[OTHER_IMAGE] + counts[AMBIGUOUS] == total:
        logger.warning("%s changes no label: its images are not those of the manifest.", path)


def _empty_ages(manifest: Manifest, rows: Sequence[int], bounds: AgeBounds) -> tuple[Manifest, int]:
    """The manifest without the ages of these rows that lie in another group than their label."""
    columns = {name: list(manifest.columns[name]) for name in AGES if name in manifest.columns}
    emptied = 0
    for row in rows:
        cells = {name: parse_years(cells[row]) for name, cells in columns.items()}
        years = [year for year in cells.values() if year is not None]
        if any(bounds.label(year) != manifest.labels[row] for year in years):
            emptied += 1
            for cells_of in columns.values():
                cells_of[row] = ""
    kept = {name: tuple(cells) for name, cells in columns.items()}
    return replace(manifest, columns=manifest.columns | kept), emptied
