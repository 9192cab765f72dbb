"""How well a model's features name the identity, and what age accuracy is left without that part.

    threeages identity-probe RUN MANIFEST --table results/identity-probe.csv

A linear probe learns to name the train rows' identities, and is tested on other images of the same
identities: a random fifth, and where the manifest has the column `film` images of films that it was not
shown. Another probe learns the age groups of the train rows and is tested on held-out identities. Both are
repeated with the identity erased from the features (studies.probing). No identity is ever named: the rows
hold accuracies alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.checks import find_groups
from threeages.data.manifest import IDENTITY, Manifest, find_rows
from threeages.data.split import Rows
from threeages.errors import DataError, MissingDependencyError, format_count
from threeages.evaluation.enough import LEAST_UNITS
from threeages.evaluation.metrics import bootstrap_by_identity, bootstrap_mean, summarize
from threeages.labels import UNKNOWN
from threeages.progress import track_progress
from threeages.studies.probing import ERASED, Erased, fit_erasure, probe_age_groups, probe_identities
from threeages.studies.results import Row, save_rows, with_interval
from threeages.studies.run_split import read_run_split
from threeages.training.config import TrainConfig
from threeages.training.features import ManifestFeatures, open_manifest_features

FILM = "film"
HELD_SHARE = 0.2  # of an identity's images or of its films
LEAST_IMAGES = 10  # an identity with fewer is left out of the probe of identities
METRICS = ("accuracy", "balanced_accuracy")
KEY = ("model", "features", "erased")


@dataclass(frozen=True)
class ProbeData:
    """Rows with a known identity and label: float32 `features` `(n, d)`, `films` or None, and the folds.

    `identities` are numbers `(n,)`. A fold is the train and the test rows of a split, counted within these.
    """

    features: NDArray[np.float32]
    identities: Rows
    labels: Rows
    films: NDArray[np.str_] | None
    folds: tuple[tuple[Rows, Rows], ...]


def find_usable(manifest: Manifest, only: tuple[str, str] | None = None) -> Rows:
    """The rows with an identity and a label, of those with a value in a column where `only` gives both.

    Raises DataError where the manifest names no identities, or no two identities have LEAST_IMAGES such rows.
    No image is read.
    """
    names = manifest.identities()
    if names is None:
        raise DataError(
            "The manifest names no identities, so that nothing can be said about them.",
            hint="Add a column identity that says who is shown.",
        )
    rows = np.arange(len(manifest))
    rows = find_rows(manifest.columns, *only, rows) if only else rows
    usable: Rows = rows[(names[rows] != "") & (manifest.labels[rows] != UNKNOWN)]
    counts = np.sort(np.unique(names[usable], return_counts=True)[1])[::-1]
    if (counts >= LEAST_IMAGES).sum() < 2:
        most = ", ".join(f"{count:,}" for count in counts[:3].tolist()) or "0"
        raise DataError(
            f"No two identities have {LEAST_IMAGES} images with a label each: the most that any have are "
            f"{most}.",
            hint="Give a manifest with more images of each identity.",
        )
    return usable


def collect_data(
    manifest: Manifest, found: ManifestFeatures, only: tuple[str, str] | None = None
) -> ProbeData:
    """The rows that can be probed, of those with a value in a column where `only` gives both.

    Raises DataError as `find_usable` does, where too few identities are among the train rows, and where all
    train rows are of one age group.
    """
    rows, names = find_usable(manifest, only), np.asarray(manifest.columns[IDENTITY])
    folds = tuple(_count_within(rows, split.train, split.test) for split in found.splits)
    identities = np.unique(names[rows], return_inverse=True)[1]
    if len(_probed(identities, folds[0][0])) == 0:
        raise DataError(
            f"No two identities of the train rows have {LEAST_IMAGES} images with a label each.",
            hint="Give a manifest with more images of each identity.",
        )
    if not any(len(test) for _, test in folds):
        raise DataError(
            "None of the rows is a test row of the run, so that no age accuracy can be measured.",
            hint="Give the manifest that the run was trained on.",
        )
    for train, _ in folds:
        if len(groups := find_groups(manifest.labels[rows][train])) == 1:
            raise DataError(
                f"All train rows with identities are {groups[0]}, so no age group can be told from others.",
                hint="Give a manifest with images of two age groups or more.",
            )
    films = manifest.columns.get(FILM)
    named = films is not None and any(films[row] for row in rows)
    return ProbeData(
        found.values[rows],
        identities,
        manifest.labels[rows],
        np.asarray(films)[rows] if named else None,
        folds,
    )


def open_probe(
    manifest: Manifest,
    config: TrainConfig,
    run: Path | None,
    only: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> tuple[ProbeData, str]:
    """The data of a run's model, or of the network that the settings start from, and the kind of features.

    With `only` no other row is read: a recipe is split within these alone, and a run's split is read from its
    folder. Of a run whose folder does not name it every row is read, as the split is made of all of them.
    Raises as `collect_data` and `open_manifest_features` do.
    """
    part = manifest.select(find_rows(manifest.columns, *only, np.arange(len(manifest)))) if only else manifest
    split = read_run_split(part, run) if run and only else None
    if run and split is None:
        part = manifest
    found = open_manifest_features(part, config, run, cache_dir, split=split)
    return collect_data(part, found, only), found.kind


def check_probe() -> None:
    """Raise MissingDependencyError without the library that erases."""
    try:
        import concept_erasure  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("concept-erasure", "explain") from error


def run_probe(data: ProbeData, seed: int = 0) -> list[Row]:
    """A row for each of ERASED: accuracy of the identity by both probes, and of the age group."""
    rng = np.random.default_rng(seed)
    train = _probed(data.identities, data.folds[0][0])
    partings = {"images": _part(train, data.identities, np.arange(len(data.identities)), rng)}
    if data.films is not None:
        films = np.unique(data.films, return_inverse=True)[1]
        partings["films"] = _part(train, data.identities, films, rng)
    rows = []
    for erased in track_progress(ERASED, "Probing", len(ERASED)):
        row = {"dimensions": str(data.features.shape[1]), "erased": erased}
        for name in ("images", "films"):
            row |= _probe_identity(data, name, partings.get(name), erased)
        rows.append(row | _probe_ages(data, erased))
    return rows


def save_probe(rows: Sequence[Row], model: str, kind: str, path: Path) -> None:
    """Add or replace the rows of a model in a csv of results."""
    save_rows(path, [{"model": model, "features": kind, **row} for row in rows], KEY)


def summarize_probe(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table for people."""
    header = [
        "erased",
        "directions",
        "identity, other images",
        "other films",
        "chance",
        "age group",
        "mean of groups",
    ]
    names = ("erased", "removed", "identity_images", "identity_films", "chance", *METRICS)
    return header, [[row[name] or "-" for name in names] for row in rows]


def describe_few(rows: Sequence[Row]) -> Iterator[str]:
    """Where the identities or an age group's rows of `run_probe` are too few to tell, a sentence each."""
    first = rows[0]
    probed, tested = int(first["identities"]), int(first["held_out_identities"])
    for count, what in ((probed, "are named by the probe"), (tested, "are held out for the age groups")):
        if count < LEAST_UNITS:
            yield (
                f"Too few to tell: {format_count(count, 'identity', 'identities')} {what}, and {LEAST_UNITS} "
                "or more are needed."
            )


def _probe_identity(data: ProbeData, name: str, parting: tuple[Rows, Rows] | None, erased: Erased) -> Row:
    column = f"identity_{name}"
    if parting is None or not len(parting[1]):
        return with_interval(column, np.nan, (np.nan, np.nan))
    fit, held = parting
    erasure = fit_erasure(data.features[fit], data.identities[fit], data.labels[fit], erased)
    preds = probe_identities(erasure.apply(data.features), data.identities, fit, held)
    correct = (preds == data.identities[held]).astype(np.float64)
    row = with_interval(column, correct.mean(), bootstrap_mean(correct, data.identities[held]))
    if name == "films":
        return row
    most = np.bincount(data.identities[fit]).argmax()
    chance = f"{(data.identities[held] == most).mean():.4f}"
    identities = str(len(np.unique(data.identities[fit])))
    return {"identities": identities, "removed": str(erasure.dimensions), "chance": chance} | row


def _probe_ages(data: ProbeData, erased: Erased) -> Row:
    """Metrics over the test rows of all folds, each answered by a probe of the other identities."""
    probs, tested = [], []
    for train, test in data.folds:
        erasure = fit_erasure(data.features[train], data.identities[train], data.labels[train], erased)
        probs.append(probe_age_groups(erasure.apply(data.features), data.labels, train, test))
        tested.append(test)
    rows = np.concatenate(tested)
    labels, answers, who = data.labels[rows], np.concatenate(probs), data.identities[rows]
    metrics, intervals = summarize(labels, answers), bootstrap_by_identity(labels, answers, who)
    row = {"n": str(len(rows)), "held_out_identities": str(len(np.unique(who)))}
    for name in METRICS:
        row |= with_interval(name, metrics[name], intervals[name])
    return row


def _count_within(rows: Rows, *parts: Rows) -> tuple[Rows, Rows]:
    train, test = (np.flatnonzero(np.isin(rows, part)) for part in parts)
    return train, test


def _probed(identities: Rows, train: Rows) -> Rows:
    """The train rows of identities with enough images; none where that is one identity alone."""
    counts = np.bincount(identities[train], minlength=identities.max(initial=0) + 1)
    kept = train[counts[identities[train]] >= LEAST_IMAGES]
    return kept if len(np.unique(identities[kept])) > 1 else kept[:0]


def _part(train: Rows, identities: Rows, units: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows to fit on and rows held out: of every identity with several units a share of these, whole."""
    held = np.concatenate([np.empty(0, dtype=np.int64), *_hold_out(train, identities, units, rng)])
    return np.setdiff1d(train, held), held


def _hold_out(train: Rows, identities: Rows, units: Rows, rng: np.random.Generator) -> Iterator[Rows]:
    for identity in np.unique(identities[train]):
        rows = train[identities[train] == identity]
        own = rng.permutation(np.unique(units[rows]))
        chosen = own[: max(1, round(HELD_SHARE * len(own)))] if len(own) > 1 else own[:0]
        yield rows[np.isin(units[rows], chosen)]
