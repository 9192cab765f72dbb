"""The reference study repeated: every recipe on both splits, in one table beside the published accuracy."""

import csv
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from threeages.data.checks import check_age_groups
from threeages.data.manifest import IDENTITY, Manifest, find_rows
from threeages.data.split import Split, SplitMode
from threeages.data.split_notes import RECOGNITION
from threeages.errors import ConfigError, DataError
from threeages.evaluation.compare import METRICS
from threeages.evaluation.evaluate import Evaluation
from threeages.evaluation.predictions import PREDICTIONS, join_predictions, load_predictions
from threeages.evaluation.report import write_report
from threeages.evaluation.split_gap import compute_split_gap
from threeages.files.csvfiles import replace_rows, write_rows
from threeages.files.locks import hold_folder
from threeages.files.writing import read_checked_json, write_checked_json, write_text
from threeages.models.registry import find_model
from threeages.studies.finished import check_settings, finish_run, is_finished
from threeages.studies.recipes import create_recipe
from threeages.studies.results import Row, describe_origin, format_markdown, with_interval
from threeages.training.build import open_data
from threeages.training.checkpoint import load_checkpoint
from threeages.training.checks import check_labels, plan_split
from threeages.training.config import TrainConfig
from threeages.training.identity import DataDigests, check_data, describe_changes, describe_data
from threeages.training.run_folder import METRICS_FILE

logger = logging.getLogger(__name__)

PUBLISHED = {"cnn": 0.770, "resnet50": 0.667, "mobilenet_v2": 0.647, "attention_cnn": 0.678}
RECIPES = (
    "reference-cnn", "corrected-cnn",
    "reference-resnet50", "scaled-resnet50", "corrected-resnet50",
    "reference-mobilenet-v2", "scaled-mobilenet-v2", "corrected-mobilenet-v2",
    "reference-attention", "corrected-attention",
    "reference-lstm",
)  # fmt: skip
ABLATION = tuple(
    f"frozen-features+alone{part}"
    for part in (
        "", "+gender", "+expression", "+pose", "+gender+expression+pose", "+years", "+years+gender",
        "+soft_ordinal", "+coral", "+corn",
    )
)  # fmt: skip
STATE = "study.json"  # digests of the study's data, and its rows: its tables are written from it
KEY = ("recipe", "split")  # the columns that name a row


@dataclass(frozen=True)
class Study:
    """What is run: `folds` of the five identity-disjoint folds; `weights` is a file or folder.

    All rows train; `only` names a column and a value, and rows without that value are not evaluated.
    """

    manifest: Manifest
    out: Path
    recipes: Sequence[str] = RECIPES
    splits: Sequence[SplitMode] = ("random", "identity")
    folds: int = 5
    weights: str | None = None
    seed: int = 42
    epochs: int | None = None
    only: tuple[str, str] | None = None
    cache_dir: Path | None = None


def run_study(study: Study) -> list[Row]:
    """Train and evaluate every recipe on every split; return one row for each pair.

    Writes study.csv and study.md after every pair. A study that was stopped resumes: a finished run is not
    repeated, one whose files are damaged is evaluated or trained again, an unfinished one continues. Raises
    ConfigError where a recipe is unknown and where the folder holds a study of other data or settings, and
    BusyError where another process is at work in it.
    """
    configs = [(name, split, _config(study, name, split)) for name in study.recipes for split in study.splits]
    _check_labels(study, configs)
    with hold_folder(study.out):
        older = _open_study(study, configs[0][2])
        for name, _, config in configs:
            for run, part in _runs(study, name, config):
                check_settings(run, part)
        rows: list[Row] = []
        for name, split, config in configs:
            runs = list(_runs(study, name, config))
            for run, part in runs:
                _finish_run(study, name, run, part)
            rows.append(_evaluate(study, name, split, [run for run, _ in runs], config))
            _save(study, config, [*_without(older, rows), *rows])
    return rows


def parse_splits(text: str) -> tuple[SplitMode, ...]:
    """The split modes in a text such as 'random,identity'; raises ConfigError on any other word."""
    allowed: dict[str, SplitMode] = {"random": "random", "identity": "identity"}
    if unknown := [word for word in text.split(",") if word not in allowed]:
        raise ConfigError(f"There is no split {unknown[0]!r} to study.", hint="Allowed: random,identity.")
    return tuple(allowed[word] for word in text.split(","))


def add_rows(rows: Sequence[Row], path: Path) -> list[Row]:
    """Write rows to a csv, keep those of other recipes and splits that it holds, and return all of them."""
    return [dict(row) for row in replace_rows(path, rows, KEY, extras="ignore")]


def summarize(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and one line a recipe: accuracy on both splits, their gap, size, seconds, published accuracy."""
    header = [
        "recipe",
        "published",
        "random",
        "identity",
        "gap",
        "balanced",
        "macro F1",
        "parameters",
        "seconds",
    ]
    lines = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        found = {row["split"]: row for row in rows if row["recipe"] == recipe}
        hard = found.get("identity") or found["random"]
        seconds = sum(float(row["seconds"]) for row in found.values())
        lines.append(
            [
                recipe,
                hard["published"],
                *(_accuracy(found.get(split)) for split in ("random", "identity")),
                _gap(found),
                hard["balanced_accuracy"],
                hard["f1_macro"],
                f"{int(hard['parameters']):,}",
                f"{seconds:,.0f}",
            ]
        )
    return header, lines


def describe_gaps(rows: Sequence[Row]) -> Iterator[str]:
    """A warning for every accuracy on the random split that has no identity-disjoint one beside it."""
    measured = {row["recipe"] for row in rows if row["split"] == "identity"}
    for row in rows:
        if row["split"] == "random" and row["recipe"] not in measured:
            yield f"{row['recipe']}: of a random split alone. {RECOGNITION} Add --splits random,identity."


def _gap(found: Mapping[str, Row]) -> str:
    """The gap between the two splits of a recipe with its 95 % interval; '' where one is not there."""
    if len(found) < 2:
        return ""
    names = ("accuracy", "accuracy_low", "accuracy_high")
    random, disjoint = ([float(found[s][name] or "nan") for name in names] for s in ("random", "identity"))
    gap = compute_split_gap((random[0], random[1], random[2]), (disjoint[0], disjoint[1], disjoint[2]))
    interval = f" [{gap.low:.3f}, {gap.high:.3f}]" if math.isfinite(gap.low) else ""
    return f"{gap.difference:.3f}{interval}"


def _config(study: Study, name: str, split: SplitMode) -> TrainConfig:
    config = replace(create_recipe(name), split=split, seed=study.seed)
    if find_model(config.model).pretrained is not None:  # else it is trained from scratch
        config = replace(config, weights=study.weights)
    if study.epochs is not None:
        config = replace(config, epochs=study.epochs, head_epochs=min(config.head_epochs, study.epochs))
    return config


def _check_labels(study: Study, configs: Sequence[tuple[str, SplitMode, TrainConfig]]) -> None:
    """Raise before any training where one of the runs could not train or be evaluated."""
    splits: dict[tuple[str, int], Split] = {}
    for name, mode, config in configs:
        for _, part in _runs(study, name, config):
            if (mode, part.fold) not in splits:
                splits[mode, part.fold] = _plan_split(study.manifest, part)
            check_labels(study.manifest, part, splits[mode, part.fold])
    for mode in study.splits if study.only else ():
        tests = [split.test for (of, _), split in splits.items() if of == mode]
        rows = find_rows(study.manifest.columns, *(study.only or ("", "")), np.unique(np.concatenate(tests)))
        check_age_groups(study.manifest, rows, "test row", f" of the {mode} split", least=1)


def _plan_split(manifest: Manifest, config: TrainConfig) -> Split:
    """The split of a run; here --folds says how many of the five folds run, so no hint names it."""
    try:
        return plan_split(manifest, config)
    except DataError as error:
        if "--folds" not in error.hint:
            raise
        hint = f"A study needs identities for {config.folds} folds. Add images, or give --splits random."
        raise DataError(error.message, hint=hint) from error


def _runs(study: Study, name: str, config: TrainConfig) -> Iterator[tuple[Path, TrainConfig]]:
    base = study.out / name
    if config.split == "random":
        yield base / "random-0", config  # beside `random`, which holds the evaluation as `identity` does
        return
    for fold in range(study.folds):
        yield base / f"identity-{fold}", replace(config, fold=fold)


def _open_study(study: Study, config: TrainConfig) -> list[Row]:
    """The rows that the study's folder holds; raises ConfigError where they are of other data or settings."""
    path = study.out / STATE
    held = read_checked_json(path)
    if held is not None:
        if changes := describe_changes(held.get("settings", {}), _describe_settings(study)):
            raise ConfigError(
                f"{study.out} holds a study of another configuration: {changes}.",
                hint="Give those settings again, or another --out: one table takes no rows of both.",
            )
        check_data(held["data"], _describe_study(study, config), study.out)
        return list(held["rows"])
    if path.exists():
        logger.warning("%s is damaged: study.csv and study.md are made again of the recipes named now.", path)
    return []


def _describe_settings(study: Study) -> dict[str, Any]:
    """The settings that all rows of its table share; --weights concern some recipes alone."""
    return {"only": study.only, "seed": study.seed, "epochs": study.epochs}


def _describe_study(study: Study, config: TrainConfig) -> DataDigests:
    """Digests of what all of its runs share: images and labels, and who is shown."""
    cache, split = open_data(study.manifest, config, study.cache_dir)
    found = describe_data(study.manifest, split, cache, (IDENTITY,))
    return {name: digest for name, digest in found.items() if name != "split"}


def _finish_run(study: Study, name: str, run: Path, config: TrainConfig) -> None:
    """Train and evaluate a run that is not finished, and repair one whose files are damaged."""
    if is_finished(run, study.manifest, config, study.cache_dir):
        return
    logger.info("%s, %s split, fold %d -> %s", name, config.split, config.fold, run)
    finish_run(run, study.manifest, config, study.cache_dir)


def _without(older: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The older rows of other recipes and splits."""
    new = {tuple(row[name] for name in KEY) for row in rows}
    return [row for row in older if tuple(row[name] for name in KEY) not in new]


def _save(study: Study, config: TrainConfig, rows: Sequence[Row]) -> None:
    """Write the rows, and the two tables from them."""
    about = {"data": _describe_study(study, config), "settings": _describe_settings(study)}
    write_checked_json(study.out / STATE, {**about, "rows": rows})
    write_rows(study.out / "study.csv", rows)
    _write_markdown(rows, study.out)


def _evaluate(study: Study, name: str, split: SplitMode, runs: list[Path], config: TrainConfig) -> Row:
    table = join_predictions([load_predictions(run / PREDICTIONS) for run in runs])
    table = table.where(*study.only) if study.only else table
    result = write_report(table, study.out / name / split)
    model, _ = load_checkpoint(runs[0])
    seconds = sum(_seconds(run) for run in runs)
    row = {
        "recipe": name,
        "model": config.model,
        "split": split,
        "folds": str(len(runs)) if split == "identity" else "",
        "n": str(result.n),
        "units": str(result.units),
        **_metric_cells(result),
        "published": f"{PUBLISHED[config.model]:.3f}" if config.model in PUBLISHED else "",
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "seconds": f"{seconds:.0f}",
        "seed": str(config.seed),
    }
    return row | describe_origin()


def _metric_cells(result: Evaluation) -> Row:
    row: Row = {}
    for name in METRICS:
        row |= with_interval(name, result.metrics[name], result.intervals[name])
    return row


def _seconds(run: Path) -> float:
    """Seconds of the run's epochs; frozen features are computed once for all runs and not counted."""
    with (run / METRICS_FILE).open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _accuracy(row: Row | None) -> str:
    if row is None:
        return ""
    ends = f" [{row['accuracy_low']}, {row['accuracy_high']}]" if row["accuracy_low"] else ""
    return f"{row['accuracy']}{ends}"


def _write_markdown(rows: Sequence[Row], out: Path) -> None:
    intro = "Accuracy and gap with their 95 % intervals; seconds are those of all epochs."
    text = ["# The study", "", intro, "", *format_markdown(*summarize(rows))]
    text += [line for note in describe_gaps(rows) for line in ("", f"**Warning.** {note}")]
    for row in rows:
        curves = f"{row['recipe']}/{row['split']}-0/curves.png"
        if (out / curves).exists():  # the csv may hold rows of runs that were removed
            title = f"## {row['recipe']}, {row['split']}"
            text += ["", title, "", f"![accuracy and loss by epoch]({curves})"]
    write_text(out / "study.md", "\n".join(text) + "\n")
