"""Each source of faces evaluated by a model that never met it, and by other models' answers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from threeages.data.columns import SOURCE
from threeages.data.manifest import Manifest
from threeages.errors import ConfigError, DataError
from threeages.evaluation.evaluate import evaluate_table
from threeages.evaluation.predictions import PREDICTIONS, PredictionTable, load_predictions
from threeages.files.locks import hold_folder
from threeages.labels import AGE_GROUPS, UNKNOWN
from threeages.studies.finished import finish_run, is_finished
from threeages.studies.results import Row, save_rows, with_interval
from threeages.training.build import drop_missing_heads
from threeages.training.config import TrainConfig

METRICS = ("balanced_accuracy", "f1_macro", "ece", "accuracy")
YEARS_MAE = "years_mae"
AHEAD = "ahead"  # balanced accuracy of another model on the same images less that of the row's
FACES = "faces"  # which labelled images of a source were answered: all of them, or a sample
ALL = "all"
MEAN = "mean"  # of all sources held out, each with the same weight
OTHERS = "all other sources"
FEWEST = 10  # images of each age group: balanced accuracy over fewer is chance


@dataclass(frozen=True)
class CrossSource:
    """What is run.

    `joined` names sources that are held out together, such as three of one kind; every other source is held
    out alone. `baseline` are the sources that the same settings are trained on beside all others, less the
    one held out; none without any. `answers` are predictions of other models by name.
    """

    manifest: Manifest
    config: TrainConfig
    out: Path
    joined: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baseline: Sequence[str] = ()
    answers: Mapping[str, Path] = field(default_factory=dict)
    cache_dir: Path | None = None


def run_cross_source(study: CrossSource) -> list[Row]:
    """One row for each source held out and what answered it, and the unweighted mean over the sources.

    Sources without FEWEST images of every age group are trained on and not evaluated. A study that was
    stopped resumes, as `threeages study` does. Predictions may lack whole sources, such as those that their
    model was trained on. Raises ConfigError where a source is unknown or a run is of other data or settings,
    DataError where predictions have some labelled images of a source and not all, and BusyError where another
    process is at work in the folder.
    """
    sources = find_sources(study.manifest, study.joined)
    rows: list[Row] = []
    with hold_folder(study.out):
        for name, answer in _list_answers(study):
            found = {source: answer(members) for source, members in sources.items()}
            own = [create_row(name, source, table) for source, table in found.items() if table]
            rows += [*own, average_rows(own)] if own else []
    return rows


def find_sources(manifest: Manifest, joined: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The sources to hold out, each by a name, largest first; of those joined all members.

    Raises ConfigError where a member is unknown or in two, DataError where no source can be evaluated.
    """
    known = dict.fromkeys(cell for cell in manifest.columns.get(SOURCE, ()) if cell)
    members = [member for group in joined.values() for member in group]
    if wrong := [m for m in members if m not in known] + [m for m in members if members.count(m) > 1]:
        raise ConfigError(
            f"The source {wrong[0]!r} is not one source of the manifest.",
            hint=f"Name each once: {', '.join(known)}.",
        )
    groups = {name: tuple(group) for name, group in joined.items()}
    groups |= {name: (name,) for name in known if name not in members}
    counts = {name: _count_labels(manifest, group) for name, group in groups.items()}
    found = {name: groups[name] for name, count in counts.items() if min(count) >= FEWEST}
    if not found:
        raise DataError(
            f"No source has {FEWEST} images of each age group.",
            hint="Merge manifests of several sets: threeages data merge. Sources can be joined.",
        )
    return dict(sorted(found.items(), key=lambda item: -sum(counts[item[0]])))


def select_answers(
    manifest: Manifest, answers: PredictionTable, file: Path | str, members: Sequence[str]
) -> PredictionTable | None:
    """The rows of some sources with the manifest's labels; None where the file has none of them.

    Raises DataError where it has some and not all.
    """
    places = {path: row for row, path in enumerate(answers.paths)}
    cells = manifest.columns[SOURCE]
    rows = [i for i, cell in enumerate(cells) if cell in members and manifest.labels[i] != UNKNOWN]
    if not any(manifest.paths[i] in places for i in rows):
        return None
    if missing := [manifest.paths[i] for i in rows if manifest.paths[i] not in places]:
        raise DataError(
            f"{file} lacks {len(missing):,} of the images to evaluate, the first of them {missing[0]}.",
            hint="Predict every labelled image of a source, or none.",
        )
    chosen = answers.take([places[manifest.paths[i]] for i in rows])
    known = {name: tuple(cells[i] for i in rows) for name, cells in manifest.columns.items()}
    return replace(chosen, labels=manifest.labels[rows], columns=chosen.columns | known)


def create_row(name: str, source: str, table: PredictionTable, faces: str = ALL) -> Row:
    """The metrics of a model on one source, with intervals; `note` and AHEAD are left empty."""
    result = evaluate_table(table)
    row = {"model": name, FACES: faces, "held_out": source, "n": str(result.n)}
    row |= {"identities": str(result.units)}
    for metric in METRICS:
        row |= with_interval(metric, result.metrics[metric], result.intervals[metric])
    years = result.years or {}
    ends = (years.get("mae_low", math.nan), years.get("mae_high", math.nan))
    row |= with_interval(YEARS_MAE, years.get("mae", math.nan), ends)
    return row | {"note": ""} | with_interval(AHEAD, math.nan, (math.nan, math.nan))


def average_rows(rows: Sequence[Row]) -> Row:
    """The unweighted mean of the sources' metrics.

    Its interval is that of a mean of independent values whose standard errors are a quarter of their
    intervals' widths.
    """
    counts = {name: _add(rows, name) for name in ("n", "identities")}
    mean = rows[0] | {"held_out": MEAN, "note": ""} | counts
    for name in (*METRICS, YEARS_MAE, AHEAD):
        known = [row for row in rows if row[name]]
        values = [float(row[name]) for row in known]
        widths = [_measure_width(row, name) for row in known]
        middle = float(np.mean(values)) if values else math.nan
        half = math.hypot(*widths) / 2 / max(len(values), 1)
        mean |= with_interval(name, middle, (middle - half, middle + half))
    return mean


def _measure_width(row: Row, name: str) -> float:
    """The width of a metric's interval; NaN where too few rows have it for one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return float(high) - float(low) if low and high else math.nan


def save_table(rows: Sequence[Row], path: Path) -> None:
    """Add the rows to a csv in place of those of the same recipe, model, images and source held out."""
    save_rows(path, rows, ("recipe", "model", FACES, "held_out"))


def summarize(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and one line a row of the metrics with their intervals."""
    header = ["model", "held out", "n", *METRICS, YEARS_MAE]
    lines = [
        [row["model"], row["held_out"], row["n"], *(_shown(row, name) for name in (*METRICS, YEARS_MAE))]
        for row in rows
    ]
    return header, lines


Answer = Callable[[Sequence[str]], PredictionTable | None]  # what a model answers to some sources


def _list_answers(study: CrossSource) -> Iterator[tuple[str, Answer]]:
    """Every model by its name, and what it answers."""
    yield OTHERS, partial(_train, study, ())
    if study.baseline:
        yield ",".join(study.baseline), partial(_train, study, study.baseline)
    for name, file in study.answers.items():
        yield name, partial(select_answers, study.manifest, load_predictions(file), file)


def _train(study: CrossSource, sources: Sequence[str], held_out: Sequence[str]) -> PredictionTable:
    """What a model answers to the sources held out; it is trained on the others, or on those of `sources`."""
    config = replace(
        study.config, split="source", held_out=",".join(held_out), train_sources=",".join(sources)
    )
    config = drop_missing_heads(config, _select_trained(study.manifest, sources, held_out))
    run = study.out / ("+".join(sources) or "all") / "+".join(held_out)
    if not is_finished(run, study.manifest, config, study.cache_dir):
        finish_run(run, study.manifest, config, study.cache_dir)
    return load_predictions(run / PREDICTIONS)


def _select_trained(manifest: Manifest, sources: Sequence[str], held_out: Sequence[str]) -> Manifest:
    """The rows that may train: those of `sources`, or of all without any, less those held out."""
    cells = manifest.columns[SOURCE]
    chosen = [i for i, cell in enumerate(cells) if cell not in held_out and (not sources or cell in sources)]
    return manifest.select(chosen)


def _count_labels(manifest: Manifest, members: Sequence[str]) -> list[int]:
    """How many images of each age group some sources have."""
    chosen = np.isin(np.asarray(manifest.columns[SOURCE]), members)
    return [int((manifest.labels[chosen] == group).sum()) for group in range(len(AGE_GROUPS))]


def _shown(row: Row, name: str) -> str:
    digits = 1 if name == YEARS_MAE else 3
    parts = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
    value, low, high = (f"{float(part):.{digits}f}" if part else "" for part in parts)
    return f"{value} [{low}, {high}]" if low else value


def _add(rows: Sequence[Row], name: str) -> str:
    return str(sum(int(row[name]) for row in rows))
