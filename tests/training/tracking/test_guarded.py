import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.training.epochs import Epoch
from threeages.training.tracking import guarded
from threeages.training.tracking.guarded import GuardedTracker
from threeages.training.tracking.tracker import Description, describe_training


class Server:
    """What a tracker's server holds, and whether it answers."""

    def __init__(self) -> None:
        self.away = False
        self.runs: dict[str, list[tuple[int, Mapping[str, float]]]] = {}
        self.tries = 0
        self.ended: list[bool] = []


class FakeTracker:
    title, place = "Fake", "http://fake"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.run_id = ""

    def _ask(self) -> None:
        self.server.tries += 1
        if self.server.away:
            raise RuntimeError("http://user:secret@fake failed") from ConnectionError("it is away")

    def create_run(self, about: Description) -> str:
        self._ask()
        run_id = f"run-{len(self.server.runs)}"
        self.server.runs[run_id] = []
        return run_id

    def open_run(self, run_id: str, about: Description) -> None:
        self._ask()
        self.run_id = run_id

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        self._ask()
        self.server.runs[self.run_id].append((epoch, metrics))

    def close(self, *, finished: bool) -> None:
        self._ask()
        self.server.ended.append(finished)


def _epoch(number: int) -> Epoch:
    return {"epoch": number, "phase": "train", "train_loss": 1 / number, "val_loss": float("nan")}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def about(tmp_path: Path) -> Description:
    return describe_training(tmp_path, {"lr": 0.1, "augmentation": {"blur": (0.1, 2)}}, {"train": 3})


def _open(server: Server) -> GuardedTracker:
    return GuardedTracker("fake", FakeTracker(server))


def _epochs(server: Server, run_id: str = "run-0") -> list[int]:
    return [epoch for epoch, _ in server.runs[run_id]]


def test_settings_and_split_lie_in_one_level(about: Description) -> None:
    assert about.values == {"lr": 0.1, "augmentation.blur": (0.1, 2), "split.train": 3}


def test_finite_numbers_of_every_epoch_are_sent(server: Server, about: Description) -> None:
    tracker = _open(server)
    tracker.start(about, [])
    tracker.log_epoch(_epoch(1))
    assert server.runs == {"run-0": [(1, {"train_loss": 1.0})]}


def test_a_tracker_that_fails_in_the_middle_warns_once_and_gets_all_later(
    server: Server, about: Description, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "RETRY_SECONDS", 0.0)
    tracker = _open(server)
    tracker.start(about, [])
    tracker.log_epoch(_epoch(1))
    server.away = True
    for number in (2, 3):
        tracker.log_epoch(_epoch(number))
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "Fake at http://fake does not take the metrics: it is away. The training goes on, and metrics.csv "
        "has every epoch. What is missing there is sent when it answers again, or by the same command after "
        "the training."
    ]
    server.away = False
    tracker.log_epoch(_epoch(4))
    tracker.close(finished=True)
    assert _epochs(server) == [1, 2, 3, 4]
    assert server.ended == [True]


def test_a_tracker_that_fails_is_left_alone_for_a_while(server: Server, about: Description) -> None:
    tracker = _open(server)
    tracker.start(about, [])
    server.away = True
    tracker.log_epoch(_epoch(1))
    tries = server.tries
    tracker.log_epoch(_epoch(2))
    tracker.close(finished=True)
    assert server.tries == tries


def test_a_resumed_training_goes_on_in_the_same_run(server: Server, about: Description) -> None:
    first = _open(server)
    first.start(about, [])
    first.log_epoch(_epoch(1))
    server.away = True
    first.log_epoch(_epoch(2))
    server.away = False
    again = _open(server)
    again.start(about, [_epoch(1), _epoch(2)])
    again.log_epoch(_epoch(3))
    assert list(server.runs) == ["run-0"]
    assert _epochs(server) == [1, 2, 3]


def test_epochs_that_are_trained_again_are_not_sent_twice(server: Server, about: Description) -> None:
    """A state may be older than the last epoch that was sent."""
    first = _open(server)
    first.start(about, [])
    for number in (1, 2):
        first.log_epoch(_epoch(number))
    again = _open(server)
    again.start(about, [_epoch(1)])
    for number in (2, 3):
        again.log_epoch(_epoch(number))
    assert _epochs(server) == [1, 2, 3]


def test_metrics_of_the_test_rows_are_sent_once(server: Server, about: Description) -> None:
    for _ in range(2):
        tracker = _open(server)
        tracker.start(about, [_epoch(1)])
        tracker.log_test({"test_accuracy": 0.5, "test_ece": float("nan")})
    assert server.runs["run-0"][1:] == [(1, {"test_accuracy": 0.5})]


def test_a_tracker_that_fails_before_the_first_epoch_is_an_error(server: Server, about: Description) -> None:
    server.away = True
    with pytest.raises(DataError, match="Fake at http://fake does not take the metrics: it is away") as error:
        _open(server).start(about, [])
    assert "nothing was trained yet" in error.value.hint


def test_a_resumed_training_starts_without_its_tracker(
    server: Server, about: Description, caplog: pytest.LogCaptureFixture
) -> None:
    server.away = True
    _open(server).start(about, [_epoch(1)])
    assert "The training goes on" in caplog.text


def test_another_place_gets_a_run_of_its_own(server: Server, about: Description) -> None:
    _open(server).start(about, [])
    moved = FakeTracker(server)
    moved.place = "http://elsewhere"
    GuardedTracker("fake", moved).start(about, [_epoch(1)])
    assert _epochs(server, "run-1") == [1]


def test_a_damaged_record_begins_a_new_run(
    server: Server, about: Description, caplog: pytest.LogCaptureFixture
) -> None:
    _open(server).start(about, [])
    path = about.folder / "tracking.json"
    path.write_text(path.read_text().replace("run-0", "run-9"))
    _open(server).start(about, [_epoch(1)])
    assert f"{path} is damaged" in caplog.text
    assert _epochs(server, "run-1") == [1]
