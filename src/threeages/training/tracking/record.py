"""What trackers have of a training, in its folder: so that a resumed one goes on in the same tracking run."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from threeages.files.writing import read_checked_json, write_checked_json

logger = logging.getLogger(__name__)
TRACKING_FILE = "tracking.json"


@dataclass
class Record:
    """The tracking run at a place: its id, the number of epochs that it has, and its test metrics."""

    place: str
    run_id: str = ""
    epochs: int = 0
    test: dict[str, float] = field(default_factory=dict)


def load_record(folder: Path, name: str, place: str) -> Record:
    """The record of a tracker by its name; an empty one where it wrote to another place until now.

    A damaged file counts as none, with a warning in the log: the training then begins a new tracking run.
    """
    held = _read(folder).get(name, {})
    return Record(**held) if held.get("place") == place else Record(place)


def save_record(folder: Path, name: str, record: Record) -> None:
    """Write the record of a tracker beside those of the others; raises DataError where it cannot."""
    write_checked_json(folder / TRACKING_FILE, _read(folder) | {name: asdict(record)})


def _read(folder: Path) -> dict[str, Any]:
    path = folder / TRACKING_FILE
    content = read_checked_json(path)
    if content is None and path.exists():
        logger.warning("%s is damaged: a new tracking run begins.", path)
    return content or {}
