import numpy as np
import pytest
import torch

from threeages.training import autosave
from threeages.training.autosave import SaveTimer, capture_random, restore_random
from threeages.training.state_file import read_content, serialize_content


class _Clock:
    """A clock that moves only where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(autosave.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(("step", "cost"), [(0.1, 0.0), (0.1, 1.0), (7.0, 1.0), (25.0, 2.5)])
def test_no_more_than_a_minute_is_lost_whenever_the_kill_comes(
    step: float, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(monkeypatch)
    timer = SaveTimer()
    saved = lost = 0.0
    for _ in range(3000):
        clock.now += step
        if timer.is_due():
            start = clock.now
            with timer.save():
                clock.now += cost
            lost = (
                max(lost, clock.now - saved) if saved else lost
            )  # the first save's cost is not known before
            saved = start
        lost = max(lost, clock.now - saved) if saved else lost
    assert 20 < lost <= autosave.SAVE_SECONDS + 1e-6


def test_a_state_that_is_slow_to_write_takes_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    timer = SaveTimer()
    saving = 0.0
    for _ in range(100_000):
        clock.now += 0.1
        if timer.is_due():
            with timer.save():
                clock.now += 30
            saving += 30
    assert 0.03 < saving / clock.now < 0.053


def test_after_an_epoch_a_state_is_saved_unless_that_would_take_most_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    timer = SaveTimer()
    for cost, affordable in ((2.0, True), (30.0, False)):
        clock.now += 1000
        assert timer.is_affordable()
        with timer.save():
            clock.now += cost
        clock.now += 1
        assert timer.is_affordable() == affordable
    clock.now += 600
    assert timer.is_affordable()


def test_random_states_come_back_through_a_checkpoint(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng((1, 2))
    rng.integers(3, size=5, dtype=np.int32)  # leaves half of a 64-bit number for the next one
    torch.manual_seed(3)
    path = tmp_path / "random.ckpt"
    path.write_bytes(serialize_content({"random": capture_random(rng)}))
    expected = (rng.integers(9, size=9, dtype=np.int32), rng.random(4), torch.rand(4))
    other = np.random.default_rng(0)
    restore_random(read_content(path, "")["random"], other)
    found = (other.integers(9, size=9, dtype=np.int32), other.random(4), torch.rand(4))
    for one, two in zip(found, expected, strict=True):
        assert (np.asarray(one) == np.asarray(two)).all()
