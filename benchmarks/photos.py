"""What several photos of one person bring: film faces of one person in one film, answered together.

    python benchmarks/photos.py default runs/default-int8/film/predictions.csv

To every face others of its scene (a person in a film) are drawn, and the geometric mean of their
probabilities is judged, as of a track in a video. The same faces are judged in every row: those of scenes
with 16 or more. The label of a scene is one for 98.6 % of the faces. Puts the rows of the model so named
into results/photos.csv.
"""

import argparse
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable, load_predictions
from threeages.files import replace_rows
from threeages.inference.answer import log_probs, pooled_probs
from threeages.machine import describe_machine

PHOTOS = (1, 2, 4, 8, 16)
RESULTS = Path(__file__).parents[1] / "results" / "photos.csv"
FIGURES = ("accuracy", "f1_macro", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("predictions", type=Path)
    args = parser.parse_args()
    table = load_predictions(args.predictions)
    rows = [{"model": args.model} | judge(table, count) for count in PHOTOS]
    replace_rows(RESULTS, rows, ("model",))
    for row in rows:
        print(row)


def judge(table: PredictionTable, count: int) -> dict[str, str]:
    """The figures of every face answered together with `count` - 1 others of its scene."""
    rows, probs = answer_together(table, count, np.random.default_rng(0))
    together = replace(table.take(rows), probs=probs, confidence=probs.max(axis=1))
    found = evaluate_table(together)
    row = {"photos": str(count), "faces": str(found.n), "identities": str(found.units)}
    for name in FIGURES:
        values = (found.metrics[name], *found.intervals[name])
        names = (name, f"{name}_low", f"{name}_high")
        row |= {key: f"{value:.4f}" for key, value in zip(names, values, strict=True)}
    return row | {"machine": describe_machine(), "date": date.today().isoformat()}


def answer_together(
    table: PredictionTable, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of large scenes, and for each the pooled probabilities `(n, 3)` of it and others drawn."""
    pairs = zip(table.columns["identity"], table.columns["film"], strict=True)
    scenes = np.unique([f"{person}/{film}" for person, film in pairs], return_inverse=True)[1]
    logs = log_probs(table.probs)
    rows, means = [], []
    for scene in range(scenes.max() + 1):
        members = np.flatnonzero(scenes == scene)
        if len(members) < max(PHOTOS):
            continue
        for i, row in enumerate(members):
            others = rng.choice(np.delete(members, i), count - 1, replace=False)
            rows.append(row)
            means.append(logs[[row, *others]].mean(axis=0))
    return np.asarray(rows), pooled_probs(np.asarray(means))


if __name__ == "__main__":
    main()
