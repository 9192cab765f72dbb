import numpy as np
import pytest

from threeages.errors import ConfigError
from threeages.evaluation.selective import compute_risk_coverage, find_confidence_threshold


def rows(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Answers YOUNG of these confidences; the label is YOUNG where right."""
    top = np.asarray(confidence)
    return np.where(right, 0, 2), np.stack([top, 1 - top, np.zeros_like(top)], axis=1)


def test_curve_by_hand() -> None:
    labels, probs = rows([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    points = {p["coverage"]: p for p in compute_risk_coverage(labels, probs)}
    assert points[1.0] == {"coverage": 1.0, "confidence": 0.6, "risk": 0.25}
    assert points[0.5]["risk"] == 0


def test_threshold_keeps_the_risk_and_counts_one_more_identity() -> None:
    confidence = np.linspace(0.99, 0.51, 1000)
    right = np.arange(1000) % 10 != 9  # one in ten wrong, at every confidence
    labels, probs = rows(confidence.tolist(), right.tolist())
    assert find_confidence_threshold(labels, probs, None, 0.11) == pytest.approx(0.51)
    assert (
        find_confidence_threshold(labels, probs, np.arange(1000) % 20, 0.11) is None
    )  # (20 * 0.1 + 1) / 21 = 0.143
    assert find_confidence_threshold(labels, probs, np.arange(1000) % 20, 0.15) == pytest.approx(0.51)


def test_answers_of_one_confidence_stay_together() -> None:
    labels, probs = rows([0.9] * 200 + [0.6] * 200, [True] * 200 + [True] * 100 + [False] * 100)
    assert find_confidence_threshold(labels, probs, None, 0.1) == 0.9


def test_too_few_answers_and_impossible_rates() -> None:
    labels, probs = rows([0.99] * 50 + [0.6] * 150, [True] * 50 + [False] * 150)
    assert find_confidence_threshold(labels, probs, None, 0.05) is None
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="target error rate"):
            find_confidence_threshold(labels, probs, None, rate)
