"""Where predictions come from: the split and the seed of their run, read from its config.json."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from threeages.errors import DataError
from threeages.evaluation.split_gap import SplitGap

logger = logging.getLogger(__name__)

ADVICE = (
    "The accuracy may reward recognising people, not their age: expect lower metrics on new identities, "
    "and measure them with: threeages train --split identity."
)
METRICS_FILE = "metrics.json"  # of a report: holds the provenance of the predictions beside it
T = TypeVar("T")


@dataclass(frozen=True)
class Provenance:
    """How the rows of a run were split, and its seed; '' and None where that is unknown.

    `split` is 'random', 'identity', 'source' or 'none'. `leaked_duplicates` counts the test rows that are
    exact duplicates of a training row, `leaked_near_duplicates` those with a near duplicate alone, and
    `shared_identities` the identities on both sides. `selected_on_test` says whether the epoch was chosen on
    the test rows. `sources` counts the train rows by source, where the manifest named them. `gap` is that to
    an identity-disjoint split, where it was measured. `model` is what answered, as `--model` names it, with
    the checksum of an ONNX file; '' where that is unknown or several models did.
    """

    split: str = ""
    seed: int | None = None
    leaked_duplicates: int | None = None
    shared_identities: int | None = None
    selected_on_test: bool | None = None
    leaked_near_duplicates: int | None = None
    sources: Mapping[str, int] = field(default_factory=dict)
    gap: SplitGap | None = None
    model: str = ""
    model_checksum: str = ""

    def notes(self) -> tuple[str, ...]:
        """Warnings to show beside every metric of these predictions; none unless the split is random."""
        if self.split != "random":
            return ()
        reasons = [
            _identities_note(self.shared_identities),
            "" if self.selected_on_test is False else "the epoch was chosen on the rows evaluated",
            f"{self.leaked_duplicates:,} of them are exact duplicates of training images"
            if self.leaked_duplicates
            else "",
            f"{self.leaked_near_duplicates:,} are near duplicates of training images"
            if self.leaked_near_duplicates
            else "",
        ]
        advice = self.gap.describe() if self.gap else ADVICE
        return (f"Random split: {'; '.join(filter(None, reasons))}. {advice}",) if any(reasons) else ()


def _identities_note(shared: int | None) -> str:
    if shared is None:
        return "the same identities may be in training and among the rows evaluated"
    return f"{shared:,} identities are in training and among the rows evaluated" if shared else ""


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training: it holds a checkpoint."""
    return any(folder.glob("*.ckpt"))


def read_provenance(folder: Path) -> Provenance:
    """What the config.json of a run folder says; an empty Provenance where there is none to read.

    A damaged one is named by a warning in the log.
    """
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except OSError:
        return Provenance()
    except ValueError:
        logger.warning("%s is damaged: how its rows were split is not known.", folder / "config.json")
        return Provenance()
    return _parse_run(content)


def find_provenance(folder: Path) -> Provenance:
    """That of the predictions.csv in a run's folder, or in a report's, whose metrics.json repeats it."""
    found = read_provenance(folder)
    if found != Provenance():
        return found
    try:
        content = json.loads((folder / METRICS_FILE).read_bytes())
    except (OSError, ValueError):
        return found
    return _parse_report(content)


def _parse_report(content: Any) -> Provenance:
    """What a metrics.json says."""
    found = content if isinstance(content, dict) else {}
    return Provenance(
        _typed(str, found.get("split")) or "",
        _typed(int, found.get("seed")),
        _typed(int, found.get("leaked_duplicates")),
        _typed(int, found.get("shared_identities")),
        _typed(bool, found.get("selected_on_test")),
        _typed(int, found.get("leaked_near_duplicates")),
        _read_counts(found),
        _read_gap(found),
        _typed(str, found.get("model")) or "",
        _typed(str, found.get("model_checksum")) or "",
    )


def _parse_run(content: Any) -> Provenance:
    """What a run's config.json says."""
    config, split = _mapping(content, "config"), _mapping(content, "split")
    last = False if config.get("keep_last") is True else None  # the last epoch was not chosen on anything
    return Provenance(
        _typed(str, split.get("mode", config.get("split"))) or "",
        _typed(int, config.get("seed")),
        _typed(int, split.get("leaked_duplicates")),
        _typed(int, split.get("shared_identities")),
        _typed(bool, split.get("selected_on_test", last)),
        _typed(int, split.get("leaked_near_duplicates")),
        _read_counts(split),
    )


def read_sources(run: Path) -> Mapping[str, int]:
    """Train images by source of a run folder; DataError where it names none."""
    sources = read_provenance(run).sources
    if not sources:
        raise DataError(
            f"{run} does not name the sources of its train images.",
            hint="Give the folder of a run of threeages train on a manifest with the column source.",
        )
    return sources


def join_provenance(parts: Iterable[Provenance]) -> Provenance:
    """Of joined predictions: 'random' where one part is, else what all agree on.

    Counts add up, but for those of `join_sources`.
    """
    found = list(parts)
    return Provenance(
        "random" if any(part.split == "random" for part in found) else _common(p.split for p in found) or "",
        _common(part.seed for part in found),
        _sum(part.leaked_duplicates for part in found),
        _sum(part.shared_identities for part in found),
        _common(part.selected_on_test for part in found),
        _sum(part.leaked_near_duplicates for part in found),
        join_sources(found),
        _common(part.gap for part in found),
        _common(part.model for part in found) or "",
        _common(part.model_checksum for part in found) or "",
    )


def join_sources(parts: Iterable[Provenance]) -> dict[str, int]:
    """Train rows by source of several trainings, such as folds: of each source the most that one had."""
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part.sources.items():
            counts[name] = max(count, counts.get(name, 0))
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _read_gap(content: Mapping[str, Any]) -> SplitGap | None:
    found = _mapping(content, "gap")
    values = [_typed(float, found.get(f.name)) for f in fields(SplitGap)]
    known = [value for value in values if value is not None]
    return SplitGap(*known) if len(known) == len(values) else None


def _read_counts(content: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, count in _mapping(content, "sources").items() if isinstance(count, int)}


def _mapping(content: Any, name: str) -> Mapping[str, Any]:
    return _typed(dict, content.get(name) if isinstance(content, dict) else None) or {}


def _typed(kind: type[T], value: Any) -> T | None:
    return value if isinstance(value, kind) else None


def _common(values: Iterable[T]) -> T | None:
    """The value that all have, or None."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of the known counts, None without any."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
