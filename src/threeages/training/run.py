"""One training from manifest to a judged run folder."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.cache import PixelCache, open_faces
from threeages.data.manifest import Manifest, atomic_path
from threeages.data.split import Rows, Split, create_split
from threeages.data.stored import FEATURES_FOLDER
from threeages.errors import ConfigError, DataError
from threeages.evaluation.plots import plot_curves, save_figure
from threeages.evaluation.predictions import AGE_COLUMNS, OK, PredictionTable
from threeages.inference.answer import apparent_age
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import YEARS
from threeages.models.registry import MEMORY, configured_signature
from threeages.models.weights import load_pretrained
from threeages.training import loop as fitting
from threeages.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.losses import TEACHER, collect_targets, create_heads
from threeages.training.recall import memorize, name_scenes
from threeages.training.teachers import open_tower, standardize


def train(
    manifest: Manifest,
    config: TrainConfig,
    run: Path,
    *,
    cache_dir: Path | None = None,
    log: Callable[[fitting.Epoch], None] | None = None,
) -> PredictionTable | None:
    """Train as `config` says into the folder `run`; the predictions on the test rows, or None without any.

    `log` is given the figures of every epoch, where the recipe trains by epochs.

    Images that cannot be read raise DataError: train on what `threeages data audit` finds sound.
    """
    model = create_model(config, manifest)
    cache, split = open_data(manifest, config, cache_dir)
    notes = {"train": len(split.train), "select": len(split.select), "test": len(split.test)}
    _start_run(run, config, notes | {"straddling_duplicates": split.straddling})
    data = create_data(manifest, model, cache, cache_dir)
    if config.teacher:
        alignment = model.signature.alignment
        tower = open_tower(manifest, config.teacher, alignment, cache_dir, whole=True)
        data.targets[TEACHER] = standardize(tower.kept, split.train)
    if config.model == MEMORY:
        start = time.perf_counter()
        model = memorize(model, data, split.train, name_scenes(manifest), config)
        save_checkpoint(run / BEST, model, config=config.to_dict())
        row = {"epoch": 1, "phase": "recall", "seconds": time.perf_counter() - start}
        fitting.write_history([row], run / "metrics.csv")
    else:
        model = fitting.fit(model, data, split, config, run, log)
        _draw_curves(run)
    if not len(split.test):
        return None
    return answer_table(manifest, split.test, _test(model, data, split, config, run))


def open_data(manifest: Manifest, config: TrainConfig, cache_dir: Path | None) -> tuple[PixelCache, Split]:
    """The images at the model's size, and how they are split; raises DataError where one cannot be read."""
    cache = open_faces(manifest, configured_signature(config), views=config.views, folder=cache_dir)
    if cache.failed:
        first = next(iter(cache.failed))
        raise DataError(
            f"{len(cache.failed)} images cannot be read: {manifest.paths[first]} ({cache.failed[first]}) ...",
            hint="Run: threeages data audit MANIFEST, then leave their rows out.",
        )
    split = create_split(
        manifest, cache.digests, config.split, fold=config.fold, folds=config.folds, seed=config.seed
    )
    return cache, split


def create_data(
    manifest: Manifest, model: Classifier, cache: PixelCache, cache_dir: Path | None
) -> fitting.TrainingData:
    """What the training loop needs of the images: pixels, and targets for the model's heads."""
    targets = collect_targets(manifest, tuple(model.architecture.heads))
    folder = cache_dir or FEATURES_FOLDER
    key = cache.digests.tobytes() * (len(cache.pixels) // len(cache.digests))  # once a view
    return fitting.TrainingData(cache.pixels, targets, key, folder)


def create_model(config: TrainConfig, manifest: Manifest) -> Classifier:
    """The model that the settings name, with its pretrained weights and a head for each task."""
    torch.manual_seed(config.seed)
    signature = replace(configured_signature(config), temperature=config.temperature)
    model = create_classifier(signature, Architecture(create_heads(config, manifest), config.options))
    load_pretrained(model, config.weights)
    return model


def answer_table(
    manifest: Manifest, rows: Rows, answers: Mapping[str, NDArray[np.float32]]
) -> PredictionTable:
    """The rows with a model's answers `(n, ...)` by output: probs, and years where it has them."""
    held = manifest.select(rows)
    p = np.asarray(answers["probs"], dtype=np.float64)
    columns = dict(held.columns)
    if YEARS in answers:
        ages = [apparent_age(years) for years in answers[YEARS]]
        columns |= {
            name: tuple(map(str, v)) for name, v in zip(AGE_COLUMNS, zip(*ages, strict=True), strict=True)
        }
    return PredictionTable(held.paths, held.labels, (OK,) * len(held), p, p.max(axis=1), columns)


def _test(
    model: Classifier, data: fitting.TrainingData, split: Split, config: TrainConfig, run: Path
) -> dict[str, NDArray[np.float32]]:
    """Answers for the test rows by output; the figures of further tasks on them go to `tasks.json`."""
    fabric = Fabric(accelerator="auto", devices=1)
    inputs = fitting.open_inputs(model, data, config.phases()[-1], config)
    logits = fitting.compute_logits(fabric, model.to(fabric.device), inputs, split.test)
    if config.tasks:
        found = fitting.judge(model, logits, data, split.test)
        _write_json(run / "tasks.json", {name.removeprefix("val_"): value for name, value in found.items()})
    return {name: values.numpy() for name, values in model.to_answers(logits).items()}


def _draw_curves(run: Path) -> None:
    history = load_checkpoint(run / LAST)[1]["history"]
    start = next((row["epoch"] for row in history if row["phase"] == "finetune"), None)
    save_figure(plot_curves(history, {"fine-tuning": start} if start else None), run / "curves.png")


def _start_run(run: Path, config: TrainConfig, notes: dict[str, int]) -> None:
    """Write config and environment; a folder of another configuration is not written over."""
    path = run / "config.json"
    held = json.loads(path.read_text(encoding="utf-8"))["config"] if path.exists() else {}
    known = {name: value for name, value in held.items() if name in config.to_dict()}  # of an older version
    if held and TrainConfig().to_dict() | known != config.to_dict():
        raise ConfigError(f"{run} holds a run of another configuration.", hint="Give another --out folder.")
    _write_json(path, {"config": config.to_dict(), "split": notes})
    packages = {
        name: version(name) for name in ("threeages", "torch", "numpy", "opencv-python-headless", "pillow")
    }
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    environment = {"python": platform.python_version(), "platform": platform.platform(), "device": device}
    _write_json(
        run / "environment.json", environment | {"threads": torch.get_num_threads(), "packages": packages}
    )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
