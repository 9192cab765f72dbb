import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from threeages.training import heartbeat, launch
from threeages.training.heartbeat import Heartbeat


class Store:
    """The part of torch's store that is in use; `hang` never answers."""

    def __init__(self) -> None:
        self.values: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.hang = self.broken = False

    def add(self, key: str, amount: int) -> int:
        if self.hang:
            threading.Event().wait(30)
        if self.broken:
            raise RuntimeError("Connection reset by peer")
        with self.lock:
            self.values[key] += amount
            return self.values[key]


class Job:
    """Three processes that share a store; `lost` is what each was told, by its rank."""

    def __init__(self) -> None:
        self.store = Store()
        self.lost: dict[int, int] = {}
        self.beats = [
            Heartbeat(lambda: self.store, rank, 3, lambda other, rank=rank: self.lost.update({rank: other}))
            for rank in range(3)
        ]

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.lost) < count and time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.02)
    job = Job()
    yield job
    for beat in job.beats:
        beat._stopped.set()


def _wait_for_beats(job: Job, ranks: range) -> None:
    while any(job.store.values[f"beat/{rank}"] < 2 for rank in ranks):
        time.sleep(0.01)


def test_nobody_is_lost_while_all_beat_or_have_not_begun(job: Job) -> None:
    for beat in job.beats[:2]:
        beat.start()
    while job.store.values["beat/0"] < 3 * heartbeat.MISSED:
        time.sleep(0.01)
    assert job.lost == {}
    for beat in job.beats[:2]:
        beat.stop()
    assert job.lost == {}


@pytest.mark.parametrize("gone", [1, 0])
def test_all_others_learn_which_one_stopped(job: Job, gone: int) -> None:
    for beat in job.beats:
        beat.start()
    _wait_for_beats(job, range(3))
    job.beats[gone].stop()
    job.wait(2)
    assert job.lost == {rank: gone for rank in range(3) if rank != gone}


@pytest.mark.parametrize("fault", ["hang", "broken"])
def test_a_store_that_is_gone_ends_all(job: Job, fault: str) -> None:
    for beat in job.beats:
        beat.start()
    _wait_for_beats(job, range(3))
    setattr(job.store, fault, True)
    job.wait(3)
    assert job.lost == dict.fromkeys(range(3), -1)


def test_a_process_that_dies_is_noticed_within_half_a_minute() -> None:
    assert heartbeat.SECONDS * (heartbeat.MISSED + 2) + launch.GRACE < 30
