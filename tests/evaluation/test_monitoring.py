import math

import numpy as np
import pytest

from threeages.errors import ConfigError, DataError
from threeages.evaluation.betting import MOST, Bets
from threeages.evaluation.monitoring import RiskMonitor, RiskState

TARGET = 0.1


def _run(errors: np.ndarray, level: float = 0.05) -> RiskState:
    monitor = RiskMonitor(TARGET, level=level)
    for error in errors:
        monitor.update(float(error))
    return monitor.state


def test_false_alarms_are_as_rare_as_the_level_at_the_target_itself() -> None:
    rng = np.random.default_rng(0)
    runs = [_run(rng.random(400) < TARGET, level=0.2) for _ in range(150)]
    share = np.mean([run.alarm for run in runs])
    assert share <= 0.2
    assert share > 0  # the level is used: without an alarm in 150 runs this test could not fail


def test_errors_that_depend_on_the_past_raise_no_more_alarms() -> None:
    """The probability may change with what came before, as long as it stays at or below the target."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(100):
        monitor, last = RiskMonitor(TARGET, level=0.2), 0.0
        for _ in range(300):
            last = float(rng.random() < (TARGET if last else 0.05))
            monitor.update(last)
        alarms += monitor.state.alarm
    assert alarms / 100 <= 0.2


@pytest.mark.parametrize(("risk", "most"), [(0.2, 900), (0.3, 300), (0.5, 100)])
def test_a_risk_above_the_target_is_found(risk: float, most: int) -> None:
    rng = np.random.default_rng(2)
    found = [_run(rng.random(most) < risk).alarm_at for _ in range(10)]
    assert all(found)


def test_a_change_after_a_long_time_without_one_is_found() -> None:
    rng = np.random.default_rng(3)
    errors = np.concatenate([rng.random(3000) < 0.05, rng.random(400) < 0.3])
    state = _run(errors)
    assert state.alarm_at is not None
    assert 3000 < state.alarm_at < 3300


def test_mean_errors_of_identities_count_as_their_share() -> None:
    rng = np.random.default_rng(4)
    shares = rng.beta(0.3, 2.7, 400)  # their mean is the target
    assert not _run(shares).alarm
    assert _run(rng.beta(3, 7, 400)).alarm


def test_the_state_says_what_came() -> None:
    monitor = RiskMonitor(TARGET)
    empty = monitor.state
    assert (empty.n, empty.e_value, empty.alarm) == (0, 1.0, False)
    assert math.isnan(empty.risk)
    for error in (1, 0, 0, 0.5):
        monitor.update(error)
    assert (monitor.state.n, monitor.state.risk) == (4, 0.375)
    for _ in range(50):
        monitor.update(1)
    alarm_at = monitor.state.alarm_at
    for _ in range(500):
        monitor.update(0)
    assert monitor.state.alarm_at == alarm_at  # it stays, though the evidence is gone
    assert monitor.state.e_value < 20


@pytest.mark.parametrize("target", [0, 1, -0.1, math.nan])
def test_a_target_that_is_no_share_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match="target error rate"):
        RiskMonitor(target)


@pytest.mark.parametrize("level", [0, 1, math.nan])
def test_a_level_that_is_no_share_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="level"):
        RiskMonitor(TARGET, level=level)


@pytest.mark.parametrize("error", [-0.1, 1.1, math.nan])
def test_an_error_outside_its_range_is_refused_and_not_counted(error: float) -> None:
    monitor = RiskMonitor(TARGET)
    with pytest.raises(DataError, match="The error was"):
        monitor.update(error)
    assert monitor.state.n == 0


def test_the_capital_is_that_of_all_bets_by_hand() -> None:
    bets = Bets(2)
    bets.update(np.asarray([2.0, 0.5]))
    first = 1 - 1 / (1 + math.log(2))
    assert bets.e_value == pytest.approx(first * 1.25 + (1 - first))
    bets.update(np.asarray([1.0, 1.0]))
    assert bets.e_value == pytest.approx(first * 1.25 + (1 - first))


def test_the_capital_of_an_endless_change_stays_finite() -> None:
    bets = Bets(1)
    for _ in range(2000):
        bets.update(np.asarray([10.0]))
    assert bets.e_value <= MOST + 1
