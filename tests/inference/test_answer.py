import numpy as np
import pytest

from threeages.inference.answer import Policy, Pool, apparent_age, face_record, log_probs, pooled_probs
from threeages.inference.records import ABSTAINED, Record

BOX = (0, 0, 9, 9)


def years(center: float, width: float = 3.0) -> np.ndarray:
    weights = np.exp(-0.5 * ((np.arange(101) - center) / width) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def record(probs: list[float], **kwargs: object) -> Record:
    given = {"policy": Policy(), "years": None} | kwargs
    return face_record("a.jpg", BOX, np.asarray(probs, dtype=np.float32), **given)  # type: ignore[arg-type]


def test_answer() -> None:
    found = record([0.2, 0.7, 0.1])
    assert (found.status, found.age_group, found.confidence) == ("ok", "MIDDLE", pytest.approx(0.7))
    assert (found.age, found.age_set, found.message) == (None, None, "")


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"rejection": "blurred"}, "blurred"),
        ({"rejection": "face_too_small"}, "face_too_small"),
        ({"policy": Policy(min_confidence=0.8)}, "uncertain"),
        ({"years": years(8)}, "looks_under_13"),
        ({"years": years(8), "policy": Policy(min_confidence=0.8)}, "looks_under_13"),
    ],
)
def test_rejections_have_a_reason_and_no_age_group(kwargs: dict[str, object], status: str) -> None:
    found = record([0.7, 0.2, 0.1], **kwargs)
    assert found.status == status
    assert status in ABSTAINED
    assert (found.age_group, found.confidence) == (None, None)
    assert found.probs
    assert found.message
    assert not found.failed


def test_age_and_interval() -> None:
    age, low, high = apparent_age(years(40, 5))
    assert age == pytest.approx(40, abs=0.1)
    assert (low, high) == (pytest.approx(32, abs=1), pytest.approx(48, abs=1))
    assert apparent_age(years(40, 5), 2.5)[1:] == (low - 2.5, high + 2.5)
    assert apparent_age(years(98, 5), 30)[2] == 100
    found = record([0.7, 0.2, 0.1], years=years(25))
    assert found.status == "ok"
    assert found.age_low < found.age < found.age_high


def test_a_coverage_adds_prediction_sets() -> None:
    assert record([0.5, 0.4, 0.1], policy=Policy(set_probability=0.3)).age_set == ["YOUNG", "MIDDLE"]
    roundtrip = record([0.5, 0.4, 0.1], policy=Policy(set_probability=0.3), years=years(30))
    assert Record.from_dict(roundtrip.to_dict()) == roundtrip


def test_probabilities_are_pooled_by_their_geometric_mean() -> None:
    sure, torn = np.array([0.9, 0.08, 0.02]), np.array([0.4, 0.5, 0.1])
    found = pooled_probs(log_probs(np.stack([sure, torn])).mean(axis=0))
    expected = np.sqrt(sure * torn)
    np.testing.assert_allclose(found, expected / expected.sum())
    np.testing.assert_allclose(pooled_probs(log_probs(sure)), sure)
    never = pooled_probs(log_probs(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])).mean(axis=0))
    np.testing.assert_allclose(never, [0.4995, 0.4995, 0.001], atol=1e-3)


def test_a_pool_fades_and_weighs() -> None:
    first, second = (np.asarray(p, dtype=np.float32) for p in ([0.7, 0.2, 0.1], [0.1, 0.3, 0.6]))
    pool = Pool()
    pool.add(first, years(20))
    assert pool.mean()[0] == pytest.approx(first, abs=1e-6)
    pool.fade(0.5)
    pool.add(second, years(60))
    weights = np.array([[0.5], [1]])
    pooled = np.exp((weights * np.log([first, second])).sum(axis=0) / weights.sum())
    probs, ages = pool.mean()
    assert probs == pytest.approx(pooled / pooled.sum(), abs=1e-6)
    assert ages is not None
    assert ages @ np.arange(101) == pytest.approx((0.5 * 20 + 60) / 1.5, abs=0.1)
