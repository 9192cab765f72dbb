import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import ConfigError, DataError
from threeages.evaluation.drift import (
    AGE_GROUP,
    BINS,
    CONFIDENCE,
    AnswerHistogram,
    DriftMonitor,
    DriftState,
    load_reference,
)


def _probs(n: int, seed: int, weights: tuple[float, float, float] = (2, 1, 1)) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(weights, n)


def _run(reference: np.ndarray, stream: np.ndarray, level: float = 0.05, seed: int = 0) -> DriftState:
    monitor = DriftMonitor(AnswerHistogram.from_probs(reference), level=level, seed=seed)
    for probs in stream:
        monitor.update(probs)
    return monitor.state


def test_false_alarms_are_as_rare_as_the_level() -> None:
    """With a small reference too, whose own chance would count against the stream in a plain comparison."""
    runs = [_run(_probs(40, i), _probs(250, 1000 + i), level=0.3, seed=i) for i in range(80)]
    share = np.mean([run.alarm for run in runs])
    assert 0 < share <= 0.3


@pytest.mark.parametrize("weights", [(1, 1, 2), (0.4, 0.2, 0.2), (8, 4, 4)])
def test_other_faces_and_other_confidence_are_found(weights: tuple[float, float, float]) -> None:
    state = _run(_probs(1000, 0), np.concatenate([_probs(200, 1), _probs(600, 2, weights)]))
    assert state.alarm_at is not None
    assert state.alarm_at > 200


def test_older_faces_show_in_the_age_group_and_not_in_the_confidence() -> None:
    """Probabilities in the opposite order of the groups have the same confidence."""
    state = _run(_probs(1000, 0), _probs(600, 1)[:, ::-1])
    assert state.e_values[AGE_GROUP] > 40 > state.e_values[CONFIDENCE]


def test_the_histogram_counts_both_scores() -> None:
    found = AnswerHistogram.from_probs([[1, 0, 0], [0, 0, 1], [0.25, 0.5, 0.25]])
    assert (found.confidence[BINS - 1], found.confidence[BINS // 2], sum(found.confidence)) == (2, 1, 3)
    assert (found.age_group[0], found.age_group[BINS // 2], found.age_group[BINS - 1]) == (1, 1, 1)


def test_a_level_that_is_no_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="level"):
        DriftMonitor(AnswerHistogram.from_probs(_probs(5, 0)), level=0)


def test_a_thresholds_file_gives_its_histogram_back(tmp_path: Path) -> None:
    histogram = AnswerHistogram.from_probs(_probs(30, 0))
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"reference": asdict(histogram)}))
    assert load_reference(path) == histogram


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"reference": null}', '{"reference": [1]}', '{"reference": {"confidence": [1]}}',
     json.dumps({"reference": {"confidence": [0] * BINS, "age_group": [0] * BINS}}),
     json.dumps({"reference": {"confidence": [-1] + [1] * (BINS - 1), "age_group": [1] * BINS}}),
     json.dumps({"reference": {"confidence": [math.inf] * BINS, "age_group": [1] * BINS}})],
)  # fmt: skip
def test_a_file_without_a_histogram_is_refused_with_the_command_that_writes_one(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_reference(path)
    assert str(path) in caught.value.message
    assert "threeages thresholds" in caught.value.hint
