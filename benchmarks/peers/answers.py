"""What a peer answers: years of every file, and the age groups that they fall into."""

import csv
import itertools
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.predictions import PredictionTable
from threeages.inference.records import OK
from threeages.labels import AgeBounds

BOUNDS = (int(AgeBounds().middle), int(AgeBounds().old))
Years = NDArray[np.float64]


def predict_peer(command: list[str], files: list[Path]) -> tuple[Years, NDArray[np.bool_]]:
    """Years of every file, and whether the peer's own detector found a face."""
    with tempfile.TemporaryDirectory() as folder:
        listed, answers = Path(folder) / "list.csv", Path(folder) / "answers.csv"
        with listed.open("w", newline="") as file:
            csv.writer(file).writerows([["file"], *([str(f)] for f in files)])
        subprocess.run([*command, listed, answers], check=True)
        with answers.open(newline="") as file:
            rows = list(csv.DictReader(file))
    return np.asarray([float(r["years"]) for r in rows]), np.asarray([r["found"] == "True" for r in rows])


def best_bounds(labels: NDArray[np.int64], years: Years, weights: NDArray[np.float64]) -> tuple[int, int]:
    """The two years between the groups whose right answers weigh most on these rows."""
    pairs = itertools.combinations(range(15, 76), 2)
    return max(pairs, key=lambda bounds: float(weights[np.digitize(years, bounds) == labels].sum()))


def to_groups(table: PredictionTable, years: Years, bounds: tuple[int, int]) -> PredictionTable:
    """The peer's answers as a table: all probability on the group that its years fall into."""
    probs = np.eye(3)[np.digitize(years, bounds)]
    columns = table.columns | {"predicted_age": tuple(map(str, years.tolist()))}
    n = len(table)
    return replace(table, probs=probs, confidence=probs.max(axis=1), status=(OK,) * n, columns=columns)
