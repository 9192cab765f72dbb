"""The trackers that a training's user names, as one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from threeages.errors import ConfigError
from threeages.training.epochs import Epoch
from threeages.training.tracking.guarded import GuardedTracker
from threeages.training.tracking.mlflow import MlflowTracker
from threeages.training.tracking.tensorboard import TensorBoardTracker
from threeages.training.tracking.tracker import Tracker, describe_training
from threeages.training.tracking.trackio import TrackioTracker

MLFLOW = "mlflow"
TRACKERS: Mapping[str, Callable[[Path, str | None], Tracker]] = {
    "tensorboard": lambda run, address: TensorBoardTracker(run),
    MLFLOW: lambda run, address: MlflowTracker(address),
    "trackio": lambda run, address: TrackioTracker(),
}


class Tracking:
    """Sends a training's settings, split and metrics to trackers; as a context it ends their runs."""

    def __init__(self, trackers: Sequence[GuardedTracker] = ()) -> None:
        self.trackers = trackers

    def start(
        self, run: Path, settings: Mapping[str, Any], split: Mapping[str, Any], history: Sequence[Epoch]
    ) -> None:
        """Open the tracking runs of a training in the folder `run`, those of before where it resumes.

        Raises DataError where a tracker fails before the first epoch.
        """
        about = describe_training(run, settings, split)
        for tracker in self.trackers:
            tracker.start(about, history)

    def log_epoch(self, epoch: Epoch) -> None:
        """Send the metrics of an epoch."""
        for tracker in self.trackers:
            tracker.log_epoch(epoch)

    def log_test(self, metrics: Mapping[str, float]) -> None:
        """Send the metrics of the test rows, each named `test_...`."""
        for tracker in self.trackers:
            tracker.log_test({f"test_{name}": value for name, value in metrics.items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for tracker in self.trackers:
            tracker.close(finished=kind is None)


def open_tracking(names: Iterable[str], run: Path, address: str | None = None) -> Tracking:
    """The trackers of those names for a training in the folder `run`; nothing is sent or written yet.

    `address` is that of the MLflow server. Raises ConfigError for an unknown name or an address that no
    tracker takes, and MissingDependencyError where a tracker's library is not installed.
    """
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in TRACKERS]:
        raise ConfigError(f"--track was '{unknown[0]}'.", hint=f"Allowed: {', '.join(TRACKERS)}.")
    if address and MLFLOW not in names:
        raise ConfigError("--tracking-uri was given without --track mlflow.", hint="Give both.")
    return Tracking([GuardedTracker(name, TRACKERS[name](run, address)) for name in names])
