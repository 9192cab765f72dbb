"""Accuracy with several photos of one identity: faces of one identity in one film, answered together.

    python -m threeages.studies.multiple_photos default runs/release/film/predictions.csv

Every face is pooled with other faces of its scene (one identity in one film) by the geometric mean of their
probabilities, as `predict --together` and a track in a video are. Every row evaluates the same faces: those
of scenes with at least as many faces as the largest pool. Adds the rows of the model so named to
results/photos.csv. The predictions must be of held-out identities and have the column `film`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.manifest import IDENTITY
from threeages.errors import DataError
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.inference.answer import log_probs, pooled_probs
from threeages.studies.results import Row, create_parser, save_rows, with_interval

PHOTOS = (1, 2, 4, 8, 16)
METRICS = ("accuracy", "f1_macro", "ece")
SEED = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate every number of photos and write the rows."""
    parser = create_parser(__doc__, Path("results/photos.csv"))
    parser.add_argument("model", help="name of the model in the csv")
    parser.add_argument("predictions", type=Path)
    args = parser.parse_args(arguments)
    table = load_predictions(args.predictions)
    save_rows(args.out, [{"model": args.model} | evaluate_pools(table, n) for n in PHOTOS], ("model",))


def evaluate_pools(table: PredictionTable, num_photos: int) -> Row:
    """Metrics with intervals of every face pooled with `num_photos` - 1 others of its scene."""
    rows, probs = pool_scenes(table, num_photos, np.random.default_rng(SEED))
    found = evaluate_table(replace(table.take(rows), probs=probs, confidence=probs.max(axis=1)))
    row = {"photos": str(num_photos), "faces": str(found.n), "identities": str(found.units)}
    for name in METRICS:
        row |= with_interval(name, found.metrics[name], found.intervals[name])
    return row


def pool_scenes(
    table: PredictionTable, num_photos: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the large scenes, and for each the pooled probabilities `(n, 3)` of it and random others."""
    logs = log_probs(table.probs)
    rows, means = [], []
    for members in _find_scenes(table):
        for i, row in enumerate(members):
            others = rng.choice(np.delete(members, i), num_photos - 1, replace=False)
            rows.append(row)
            means.append(logs[[row, *others]].mean(axis=0))
    return np.asarray(rows), pooled_probs(np.asarray(means))


def _find_scenes(table: PredictionTable) -> list[NDArray[np.intp]]:
    """Rows of every scene that has enough of them for the largest pool; raises DataError without any."""
    pairs = zip(table.columns[IDENTITY], table.columns["film"], strict=True)
    scenes = np.unique([f"{identity}/{film}" for identity, film in pairs], return_inverse=True)[1]
    rows = [np.flatnonzero(scenes == scene) for scene in range(scenes.max() + 1)]
    large = [members for members in rows if len(members) >= max(PHOTOS)]
    if not large:
        raise DataError(
            f"No identity has {max(PHOTOS)} faces in one film.", hint="Give predictions of a larger set."
        )
    return large


if __name__ == "__main__":
    main()
