"""What a tracker is, and what it is told of a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Description:
    """What a tracker is told before the first epoch: the run's folder, and `values` by name, in one level.

    The values are the settings of the training, and what `config.json` says of the split, as `split.train`.
    """

    folder: Path
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.folder.name


class Tracker(Protocol):
    """One place that metrics go to. Its methods raise whatever its library raises."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def place(self) -> str:
        """The address or folder that it writes to, without a password."""

    def create_run(self, about: Description) -> str:
        """Begin a tracking run; its id."""

    def open_run(self, run_id: str, about: Description) -> None:
        """Go on in the run of that id, and describe the training there, which may be done twice."""

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Add finite metrics of one epoch to the open run."""

    def close(self, *, finished: bool) -> None:
        """End the open run; it is `finished` where the training came to its end."""


def describe_training(folder: Path, settings: Mapping[str, Any], split: Mapping[str, Any]) -> Description:
    """The settings and the split of a training, flattened."""
    return Description(
        folder.absolute(), flatten({**settings, **{f"split.{k}": v for k, v in split.items()}})
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Mappings within mappings in one level, their names joined with dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
