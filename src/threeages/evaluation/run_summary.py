"""What a run folder says of its training: settings, rows, sources with their terms, epochs and machine."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threeages.data.terms import SourceTerms, find_terms
from threeages.errors import DataError
from threeages.evaluation.provenance import Provenance
from threeages.files.csvfiles import read_csv

CONFIG, ENVIRONMENT, EPOCHS = "config.json", "environment.json", "metrics.csv"
SPLITS = {
    "random": "random split: identities may be on both sides",
    "identity": "identity-disjoint split",
    "source": "sources held out",
    "none": "no row is held out",
}


@dataclass(frozen=True)
class RunSummary:
    """A training as its folder describes it; what a file does not say is empty.

    `settings` are those of its config.json, `rows` counts the rows by part of the split, `history` holds the
    metrics of each epoch by name, `sources` the train rows of each source with its terms. `corrections`
    counts the labels that a review corrected by part of the split and by the file (start of its sha256).
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[tuple[SourceTerms, int], ...] = ()
    history: tuple[Mapping[str, float], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    corrections: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds of all epochs; NaN where their times are not known."""
        return sum(epoch.get("seconds", math.nan) for epoch in self.history) if self.history else math.nan

    @property
    def images_per_second(self) -> float:
        """Train images a second in the last epoch; NaN where it is not known."""
        return self.history[-1].get("images_per_second", math.nan) if self.history else math.nan


def read_run_summary(folder: Path, provenance: Provenance) -> RunSummary | None:
    """What the folder of a run says, None where it holds no config.json of one.

    `provenance` is that of its predictions (evaluation.provenance), which names the sources.
    """
    content = _read_json(folder / CONFIG)
    if not content:
        return None
    split = _mapping(content.get("split"))
    return RunSummary(
        _mapping(content.get("config", content)),
        SPLITS.get(provenance.split, provenance.split),
        {part: split[part] for part in ("train", "validation", "test") if isinstance(split.get(part), int)},
        tuple((find_terms(name), count) for name, count in provenance.sources.items()),
        _read_history(folder / EPOCHS),
        _read_json(folder / ENVIRONMENT),
        {part: files for part, files in _mapping(split.get("corrections")).items() if _mapping(files)},
    )


def _read_history(path: Path) -> tuple[Mapping[str, float], ...]:
    """The numbers of each epoch; an empty cell is absent."""
    try:
        table = read_csv(path)
    except DataError:
        return ()
    return tuple(
        {name: value for name, cell in row.items() if math.isfinite(value := _number(cell))}
        for row in table.rows
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
