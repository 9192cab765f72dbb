"""The reference study again: every recipe on both splits, one table beside the published figures."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from threeages.data.manifest import Manifest
from threeages.data.split import SplitMode
from threeages.errors import ConfigError
from threeages.evaluation.compare import FIGURES
from threeages.evaluation.evaluate import Evaluation
from threeages.evaluation.predictions import join_predictions, load_predictions
from threeages.evaluation.report import write_report
from threeages.files import atomic_path, replace_rows
from threeages.machine import describe_machine
from threeages.studies.recipes import create_recipe
from threeages.training.checkpoint import load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.run import run_training

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
DONE = "report.html"  # the last file that a judged run writes

Row = dict[str, str]


@dataclass(frozen=True)
class Study:
    """What is run: `folds` of the five folds of people are judged; `weights` is a file or folder.

    All rows train; `only` leaves those with a value in a column to be judged.
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


def run_study(study: Study, say: Callable[[str], None]) -> list[Row]:
    """Train and judge what is not done yet; write study.csv and study.md after every run; the rows.

    May be stopped at any time: a run that is done is not repeated, one that was cut goes on at its epoch.
    """
    configs = [(name, split, _config(study, name, split)) for name in study.recipes for split in study.splits]
    rows: list[Row] = []
    for name, split, config in configs:
        runs = list(_runs(study, name, config))
        for run, part in runs:
            if not (run / DONE).exists():
                say(f"{name}, {split}{f' fold {part.fold}' if split == 'identity' else ''} -> {run}")
                table = run_training(study.manifest, part, run, cache_dir=study.cache_dir)
                assert table is not None
                write_report(table, run)
        rows.append(_judge(study, name, split, [run for run, _ in runs], config))
        _write_markdown(write_rows(rows, study.out / "study.csv"), study.out)
    return rows


def parse_splits(text: str) -> tuple[SplitMode, ...]:
    """Splits of 'random,identity'; raises ConfigError on another word."""
    allowed: dict[str, SplitMode] = {"random": "random", "identity": "identity"}
    if unknown := [word for word in text.split(",") if word not in allowed]:
        raise ConfigError(f"There is no split {unknown[0]!r} to study.", hint="Allowed: random,identity.")
    return tuple(allowed[word] for word in text.split(","))


def write_rows(rows: Sequence[Row], path: Path) -> list[Row]:
    """Write the rows as csv behind those of other recipes and splits that stand there; all of them."""
    return [dict(row) for row in replace_rows(path, rows, ("recipe", "split"), extras="ignore")]


def summarize(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and one line a recipe: both splits, their gap, size, seconds and the published accuracy."""
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
        accuracies = [float(found[split]["accuracy"]) for split in ("random", "identity") if split in found]
        seconds = sum(float(row["seconds"]) for row in found.values())
        lines.append(
            [
                recipe,
                hard["published"],
                *(_with_interval(found.get(split)) for split in ("random", "identity")),
                f"{accuracies[0] - accuracies[1]:.3f}" if len(accuracies) == 2 else "",
                hard["balanced_accuracy"],
                hard["f1_macro"],
                f"{int(hard['parameters']):,}",
                f"{seconds:,.0f}",
            ]
        )
    return header, lines


def _config(study: Study, name: str, split: SplitMode) -> TrainConfig:
    config = replace(create_recipe(name), split=split, seed=study.seed)
    if config.model not in {"cnn", "cnn_lstm", "attention_cnn"}:
        config = replace(config, weights=study.weights)
    if study.epochs is not None:
        config = replace(config, epochs=study.epochs, head_epochs=min(config.head_epochs, study.epochs))
    return config


def _runs(study: Study, name: str, config: TrainConfig) -> Iterator[tuple[Path, TrainConfig]]:
    base = study.out / name
    if config.split == "random":
        yield base / "random", config
        return
    for fold in range(study.folds):
        yield base / f"people-{fold}", replace(config, fold=fold)


def _judge(study: Study, name: str, split: SplitMode, runs: list[Path], config: TrainConfig) -> Row:
    table = join_predictions([load_predictions(run / "predictions.csv") for run in runs])
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
        **_figures(result),
        "published": f"{PUBLISHED[config.model]:.3f}" if config.model in PUBLISHED else "",
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "seconds": f"{seconds:.0f}",
        "seed": str(config.seed),
    }
    return row | {"machine": describe_machine(), "date": date.today().isoformat()}


def _figures(result: Evaluation) -> Row:
    row: Row = {}
    for figure in FIGURES:
        low, high = result.intervals[figure]
        values = {figure: result.metrics[figure], f"{figure}_low": low, f"{figure}_high": high}
        row |= {name: f"{value:.4f}" for name, value in values.items()}
    return row


def _seconds(run: Path) -> float:
    """Seconds of the run's epochs; what is frozen is computed once for all runs and not counted."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))


def _with_interval(row: Row | None) -> str:
    return f"{row['accuracy']} [{row['accuracy_low']}, {row['accuracy_high']}]" if row else ""


def _write_markdown(rows: Sequence[Row], out: Path) -> None:
    header, lines = summarize(rows)
    text = ["# The study", "", "Accuracy with its 95 % interval; seconds are those of all epochs."]
    text += ["", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    text += [f"| {' | '.join(line)} |" for line in lines]
    for row in rows:
        folder = "random" if row["split"] == "random" else "people-0"
        curves = f"{row['recipe']}/{folder}/curves.png"
        if (out / curves).exists():  # a memory has none
            text += [
                "",
                f"## {row['recipe']}, {row['split']}",
                "",
                f"![accuracy and loss by epoch]({curves})",
            ]
    with atomic_path(out / "study.md") as part:
        part.write_text("\n".join(text) + "\n", encoding="utf-8")
