import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from threeages.cli.main import main
from threeages.data.manifest import load_manifest
from threeages.evaluation.predictions import PredictionTable, save_predictions


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


RunMain = Callable[..., Ended]


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[RunMain]:
    """`run_main(*arguments)` runs the command line in this process, as it is typed."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["threeages", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    logging.getLogger("threeages").handlers.clear()  # of this process; the next test starts without


@pytest.fixture(scope="session")
def small_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of noise, which compresses badly, so that a copy of it does not fit a full disk."""
    path = tmp_path_factory.mktemp("video") / "noise.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 320))
    rng = np.random.default_rng(0)
    for _ in range(12):
        writer.write(rng.integers(0, 255, (320, 320, 3), dtype=np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="session")
def predictions_csv(faces_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calibrated predictions for the drawn faces: the label is sampled from the probabilities."""
    manifest = load_manifest(faces_csv)
    rng = np.random.default_rng(0)
    probs = rng.dirichlet((0.5, 0.5, 0.5), len(manifest))
    labels = (rng.random((len(manifest), 1)) > probs.cumsum(axis=1)[:, :2]).sum(axis=1)
    columns = {"identity": manifest.columns["identity"]}
    status = ("ok",) * len(manifest)
    table = PredictionTable(manifest.paths, labels, status, probs, probs.max(axis=1), columns)
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    save_predictions(table, path)
    return path
