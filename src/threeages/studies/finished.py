"""Finished runs of a study: a mark with the digests of their data and the checksums of their files."""

from pathlib import Path
from typing import Any

from threeages.files import checksum, read_checked_json, write_checked_json
from threeages.training.checkpoint import BEST
from threeages.training.recipes import CONFIG_FILE

MARK = "finished.json"
METRICS, PREDICTIONS = "metrics.csv", "predictions.csv"
FILES = (BEST, CONFIG_FILE, METRICS, PREDICTIONS, "metrics.json", "test_metrics.json", "report.html")


def mark_finished(run: Path, made_of: dict[str, Any]) -> None:
    """Write the mark of a run folder, whose files are all written; `made_of` names its data and settings."""
    files = {name: checksum(run / name) for name in FILES if (run / name).exists()}
    write_checked_json(run / MARK, {"made_of": made_of, "files": files})


def read_made_of(run: Path) -> dict[str, Any] | None:
    """What a finished run was made of; None where it is not finished, or its mark damaged."""
    mark = read_checked_json(run / MARK)
    return mark and dict(mark["made_of"])


def find_damaged(run: Path) -> list[str]:
    """The files of a finished run that are missing, or not as they were written."""
    mark = read_checked_json(run / MARK)
    return [name for name, held in mark["files"].items() if _checksum(run / name) != held] if mark else []


def _checksum(path: Path) -> str:
    try:
        return checksum(path)
    except OSError:
        return ""
