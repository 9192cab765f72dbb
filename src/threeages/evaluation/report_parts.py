"""What a report is made of: an evaluation, and whatever else is known of its run, its data and its model."""

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from threeages.errors import ConfigError, DataError, describe_cause
from threeages.evaluation.evaluate import Evaluation, plain_values
from threeages.evaluation.front_matter import remove_front_matter
from threeages.evaluation.mistakes import Mistake
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.run_summary import RunSummary
from threeages.evaluation.thresholds import ThresholdReport, find_selective_risk, measure_thresholds
from threeages.files.csvfiles import read_text
from threeages.inference.runtime import OnnxModel
from threeages.machine import describe_machine

WARM_UP, TIMED = 5, 30  # runs of the model on one face

Json = Mapping[str, Any]


@dataclass(frozen=True)
class ModelSummary:
    """An exported model: its size, the milliseconds that one face takes it, and its thresholds.

    `thresholds` holds a tuple for each target error rate of the file: the target, the confidence, and the
    coverage and the selective risk on the rows of the report.
    """

    name: str
    architecture: str
    input_size: int
    megabytes: float
    face_ms: float
    device: str
    machine: str
    thresholds: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Report:
    """An evaluation, and what stands beside it; what was not given is None, '' or empty.

    `audit` and `leakage` are the contents of the files that `threeages data audit` and `threeages data
    leakage` write. `no_thresholds` says why there are no `thresholds`. `mistakes` are the surest ones, `card`
    is Markdown.
    """

    evaluation: Evaluation
    run: RunSummary | None = None
    audit: Json | None = None
    leakage: Json | None = None
    thresholds: ThresholdReport | None = None
    no_thresholds: str = ""
    model: ModelSummary | None = None
    mistakes: tuple[Mistake, ...] = ()
    card: str = ""
    title: str = "Which age group is this face?"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the pictures and without the card's metadata for a hub."""
        raw = {
            "title": self.title,
            "run": asdict(self.run) if self.run else None,
            "evaluation": self.evaluation.to_dict(),
            "audit": self.audit,
            "leakage": self.leakage,
            "thresholds": asdict(self.thresholds) if self.thresholds else None,
            "no_thresholds": self.no_thresholds,
            "model": asdict(self.model) if self.model else None,
            "mistakes": [{k: v for k, v in vars(m).items() if k != "picture"} for m in self.mistakes],
            "card": remove_front_matter(self.card),
        }
        return {key: plain_values(value) for key, value in raw.items()}


def summarize_model(
    model: OnnxModel, name: str, path: Path, table: PredictionTable, measured: ThresholdReport | None
) -> ModelSummary:
    """The model's size, its time for one face, and what its thresholds came to on the table.

    `measured` are the table's own thresholds, as `find_thresholds` gives them.
    """
    signature = model.signature
    risks = find_selective_risk(table, signature, measured)
    thresholds = ((*pair, *risk) for pair, risk in zip(signature.error_thresholds, risks, strict=True))
    return ModelSummary(
        name,
        signature.name,
        signature.input_size,
        path.stat().st_size / 1e6,
        _time_face(model),
        model.device,
        describe_machine(),
        tuple(thresholds),
    )


def _time_face(model: OnnxModel) -> float:
    """Median milliseconds of the model on one face; decoding and detection are not in it."""
    size = model.signature.input_size
    face = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    times = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        model.predict(face)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def find_thresholds(table: PredictionTable) -> tuple[ThresholdReport | None, str]:
    """Cross-fitted thresholds of the table, or None with the reason why there are none."""
    try:
        return measure_thresholds(table), ""
    except (DataError, ConfigError) as error:
        return None, str(error)


def read_json(path: Path, command: str, key: str) -> Json:
    """The object in a json file that `command` writes; DataError where it cannot be read or lacks `key`."""
    hint = f"Give the json file that this writes: {command}"
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no json: {describe_cause(error)}.", hint=hint) from error
    if not isinstance(content, dict) or key not in content:
        raise DataError(f"{path} is of another kind: it holds no '{key}'.", hint=hint)
    return content
