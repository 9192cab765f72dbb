"""Finished runs of a study: a mark with the digests of their data and the checksums of their files."""

import logging
from pathlib import Path
from typing import Any

from threeages.data.manifest import Manifest
from threeages.data.train_digests import DIGESTS_FILE
from threeages.evaluation.predictions import PREDICTIONS
from threeages.evaluation.report import write_report
from threeages.files.checksums import checksum, matches_checksum
from threeages.files.writing import read_checked_json, write_checked_json
from threeages.training.build import open_data
from threeages.training.checkpoint import BEST
from threeages.training.config import TrainConfig
from threeages.training.identity import check_data, describe_data
from threeages.training.recipes import CONFIG_FILE
from threeages.training.run import describe_run_data, run_training
from threeages.training.run_folder import METRICS_FILE, check_config

logger = logging.getLogger(__name__)

MARK = "finished.json"
FILES = (
    *(BEST, CONFIG_FILE, METRICS_FILE, PREDICTIONS, DIGESTS_FILE),
    *("metrics.json", "test_metrics.json", "report.html"),
)


def finish_run(run: Path, manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> None:
    """Train what is left of a run, evaluate it, and mark it as finished once all of its files are written."""
    table = run_training(manifest, config, run, cache_dir=cache_dir)
    assert table is not None
    write_report(table, run)
    files = {name: checksum(run / name) for name in FILES if (run / name).exists()}
    write_checked_json(run / MARK, {**_describe(manifest, config, cache_dir), "files": files})


def check_settings(run: Path, config: TrainConfig) -> None:
    """Raise ConfigError where a folder holds a finished run of other settings."""
    if mark := read_checked_json(run / MARK):
        check_config(mark, config, run)


def is_finished(run: Path, manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> bool:
    """Whether a run is finished and whole, of these rows; what is damaged is said, and then removed.

    `finish_run` repairs it: its state holds the kept model and the epochs. Raises ConfigError where the run
    is of other data or settings.
    """
    check_settings(run, config)
    mark = read_checked_json(run / MARK)
    if mark is None:
        return False
    found = _describe(manifest, config, cache_dir)
    check_data(mark["data"], found["data"], run)
    damaged = [name for name, held in mark["files"].items() if not matches_checksum(run / name, held)]
    if not damaged and mark["cells"] == found["cells"]:
        return True
    what = f"{', '.join(damaged)} is missing or damaged" if damaged else "its manifest has other columns"
    logger.warning("%s: %s; the run is evaluated again.", run, what)
    for name in (MARK, *damaged):  # the mark first: a repair that is stopped resumes as any run does
        (run / name).unlink(missing_ok=True)
    return False


def _describe(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> dict[str, Any]:
    """The settings and data that decide about a run, and the cells that its predictions repeat."""
    cache, split = open_data(manifest, config, cache_dir)
    return {
        "config": config.to_dict(),
        "data": describe_run_data(manifest, config, split, cache),
        "cells": describe_data(manifest, split, cache, tuple(manifest.columns))["labels"],
    }
