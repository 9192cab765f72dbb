"""How many planted wrong labels the label review finds first, and what training on the reviewed set is worth.

    python -m threeages.studies.label_review all.csv --root DATA --source faces

A share of one source's labels is changed to another age group. Linear heads on a recipe's frozen features,
reduced to their principal components, are fitted on five identity-disjoint folds of them, with the penalty
that fits the changed labels best out of fold, and the suspects are taken of their probabilities. Then three
sets of labels fit the same folds, and each is measured on the labels as published: the changed ones, those
where an ideal reviewer has put right every planted error among the suspects, and those before the change.
Published labels are wrong here and there too, and such a find counts as none: the precision is a lower bound.
Writes results/label-review.csv.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.cache import open_near_duplicates
from threeages.data.columns import SOURCE
from threeages.data.manifest import Manifest, find_rows, load_manifest
from threeages.data.split import Rows, create_split
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import Provenance
from threeages.evaluation.suspects import find_wrong
from threeages.inference.records import OK
from threeages.labels import AGE_GROUPS, UNKNOWN
from threeages.studies.recipes import create_recipe
from threeages.studies.results import Row, create_parser, save_rows, with_interval
from threeages.training.batches import open_source
from threeages.training.build import create_data, create_model, drop_missing_heads, open_data
from threeages.training.config import TrainConfig

logger = logging.getLogger("threeages.studies.label_review")
SHARE = 0.05  # of the labels that are changed
TOPS = (100, 500)
FOLDS, SEED = 5, 42
COMPONENTS = 256  # of the features, which are found without a label
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # of the linear heads: the inverse of their penalty, as scikit-learn's C
STEPS = 500  # of its optimizer, at most
METRICS = ("accuracy", "balanced_accuracy", "nll")
METHODS = (  # of cleanlab: what is a suspect, and what comes first
    ("prune_by_noise_rate", "self_confidence"),
    ("prune_by_noise_rate", "normalized_margin"),
)
COLUMNS = (
    *("source", "recipe", "kind", "method", "step"),
    *("labels", "planted", "looked_at", "found", "precision", "recall"),
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    "seed",
)
UNIFORM, NEIGHBOUR = "any other group", "a neighbouring group"  # what a planted error says instead
Labels = NDArray[np.int64]
Probs = NDArray[np.float64]


@dataclass(frozen=True)
class Frozen:
    """Labelled rows: their manifest, float32 features `(n, d)`, and the test rows of each fold."""

    manifest: Manifest
    features: NDArray[np.float32]
    folds: tuple[Rows, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plant the errors, fit the folds, and write the rows."""
    parser = create_parser(__doc__, Path("results/label-review.csv"))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--root", type=Path, help="folder that the manifest's paths are relative to")
    parser.add_argument("--source", default="faces", help="source whose labels are changed and reviewed")
    parser.add_argument("--recipe", default="default", help="recipe whose frozen features are read")
    parser.add_argument("--cache-dir", type=Path, help="folder for cached pixels and features")
    args = parser.parse_args(arguments)
    manifest = load_manifest(args.manifest, root=args.root, need_label=False)
    config = drop_missing_heads(create_recipe(args.recipe), manifest)
    frozen = open_frozen(manifest, config, args.source, args.cache_dir)
    rows = [row for kind in (UNIFORM, NEIGHBOUR) for row in measure_review(frozen, kind)]
    save_review(args.out, args.source, args.recipe, rows)


def save_review(out: Path, source: str, recipe: str, rows: Sequence[Row]) -> None:
    """Write the rows of a source; those of other sources stay."""
    known = {"source": source, "recipe": recipe, "seed": str(SEED)}
    whole = [{name: (row | known).get(name, "") for name in COLUMNS} for row in rows]
    save_rows(out, whole, ("source", "recipe", "kind", "method", "step"))


def open_frozen(manifest: Manifest, config: TrainConfig, source: str, folder: Path | None) -> Frozen:
    """The labelled rows of a source with the recipe's features; those are computed where they are new."""
    cache, _ = open_data(manifest, replace(config, split="none"), folder)
    near = open_near_duplicates(cache)
    model = create_model(config, manifest)
    values = open_source(model, create_data(manifest, model, cache, folder), config.phases()[-1], config)
    rows = find_rows(manifest.columns, SOURCE, source, np.flatnonzero(manifest.labels != UNKNOWN))
    places = np.full(len(manifest), -1)
    places[rows] = np.arange(len(rows))
    tests = (create_split(manifest, cache.digests, fold=f, folds=FOLDS, near=near).test for f in range(FOLDS))
    folds = tuple(np.sort(places[test][places[test] >= 0]) for test in tests)
    features = np.asarray(values.values[rows], dtype=np.float32).reshape(len(rows), -1)
    return Frozen(manifest.select(rows), _reduce(features), folds)


def measure_review(frozen: Frozen, kind: str) -> Iterator[Row]:
    """Rows of the precision among the first suspects, then of the worth of the review."""
    logger.info("Errors planted: %s", kind)
    labels = frozen.manifest.labels
    changed = plant_errors(labels, kind, SHARE, SEED)
    strength = choose_strength(frozen, changed)
    probs = fit_folds(frozen, changed, strength)
    planted = changed != labels
    for method in METHODS:
        for row in count_found(find_wrong(changed, probs, *method), planted):
            yield row | {"kind": kind, "method": ", ".join(method)}
    ranked = find_wrong(changed, probs)
    reviewed = changed.copy()
    reviewed[ranked] = labels[ranked]
    for step, answers in (
        ("trained on labels with planted errors", probs),
        ("trained on reviewed labels", fit_folds(frozen, reviewed, strength)),
        ("trained on labels as published", fit_folds(frozen, labels, strength)),
    ):
        yield {"kind": kind, "step": step, "labels": str(len(labels)), **_measure(frozen.manifest, answers)}


def plant_errors(labels: Labels, kind: str, share: float, seed: int) -> Labels:
    """The labels with a `share` of them changed: evenly to the two other groups, or to a neighbouring one."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    if kind == UNIFORM:
        changed[rows] = (labels[rows] + rng.integers(1, len(AGE_GROUPS), len(rows))) % len(AGE_GROUPS)
    else:  # of the middle group both are neighbours
        changed[rows] = np.where(labels[rows] == 1, 2 * rng.integers(0, 2, len(rows)), 1)
    return changed


def count_found(ranked: Rows, planted: NDArray[np.bool_]) -> Iterator[Row]:
    """Of the first suspects, and of all: how many are planted."""
    total = int(planted.sum())
    for top in (*(top for top in TOPS if top < len(ranked)), len(ranked)):
        found = int(planted[ranked[:top]].sum())
        yield {
            "step": "all suspects" if top == len(ranked) else f"the first {top}",
            "labels": str(len(planted)),
            "planted": str(total),
            "looked_at": str(top),
            "found": str(found),
            "precision": f"{found / max(top, 1):.4f}",
            "recall": f"{found / max(total, 1):.4f}",
        }


def choose_strength(frozen: Frozen, labels: Labels) -> float:
    """The strength with the least log loss on the same labels, out of fold: no other label is looked at."""
    losses = {}
    for strength in STRENGTHS:
        probs = fit_folds(frozen, labels, strength)[np.arange(len(labels)), labels]
        losses[strength] = float(-np.log(np.maximum(probs, 1e-12)).mean())
        logger.info("strength %g: log loss %.4f", strength, losses[strength])
    return min(losses, key=losses.__getitem__)


def fit_folds(frozen: Frozen, labels: Labels, strength: float) -> Probs:
    """Out-of-fold probabilities `(n, 3)` of linear heads that were fitted on these labels."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probs = np.empty((len(labels), len(AGE_GROUPS)))
    for test in frozen.folds:
        train = np.setdiff1d(np.arange(len(labels)), test)
        head = LogisticRegression(C=strength, max_iter=STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            head.fit(frozen.features[train], labels[train])
        probs[test] = head.predict_proba(frozen.features[test])
    return probs


def _measure(manifest: Manifest, probs: Probs) -> Row:
    """Metrics on the labels as published, with intervals by identity."""
    table = PredictionTable(
        manifest.paths,
        manifest.labels,
        (OK,) * len(manifest),
        probs,
        probs.max(axis=1),
        manifest.columns,
        Provenance("identity", SEED),
    )
    result = evaluate_table(table)
    row: Row = {}
    for metric in METRICS:
        row |= with_interval(metric, result.metrics[metric], result.intervals[metric])
    return row


def _reduce(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first principal components of the features, each divided by the first one's standard deviation."""
    from sklearn.decomposition import PCA

    number = min(COMPONENTS, *features.shape)
    found = PCA(number, svd_solver="covariance_eigh").fit_transform(features)
    return np.asarray(found / found[:, 0].std(), dtype=np.float32)


if __name__ == "__main__":
    main()
