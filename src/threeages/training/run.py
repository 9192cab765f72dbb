"""One training from manifest to an evaluated run folder."""

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.data.terms import count_sources
from threeages.errors import ConfigError
from threeages.evaluation.collect import answer_table
from threeages.evaluation.plots import plot_curves, save_figure
from threeages.evaluation.predictions import PredictionTable
from threeages.files import atomic_path
from threeages.machine import ONNX_RUNTIME, OPENCV, list_versions
from threeages.training.batches import TrainingData, compute_outputs, open_source
from threeages.training.build import create_data, create_model, create_task, open_data
from threeages.training.checkpoint import LAST, load_checkpoint
from threeages.training.checks import check_labels, check_rows, check_sides, check_training
from threeages.training.config import TrainConfig
from threeages.training.loop import Epoch, fit_model
from threeages.training.recipes import CONFIG_FILE, read_config
from threeages.training.tasks import ClassificationTask, select_targets

PACKAGES = ("threeages", "torch", "numpy", "pillow", *OPENCV, *ONNX_RUNTIME)


def run_training(
    manifest: Manifest,
    config: TrainConfig,
    run: Path,
    *,
    cache_dir: Path | None = None,
    log: Callable[[Epoch], None] | None = None,
) -> PredictionTable | None:
    """Train as `config` says into the folder `run`; the predictions on the test rows, None without any.

    Resumes where the folder holds a stopped training of the same settings. `log` is given the metrics of
    every epoch. What can be checked is checked before an image is read, see `check_labels`. Raises
    DataError where an image cannot be read (`threeages data audit` finds them) and
    ConfigError where the folder holds another training.
    """
    said = check_labels(manifest, config)
    model = create_model(config, manifest)
    check_training(model, config)
    cache, split = open_data(manifest, config, cache_dir)
    check_sides(manifest, split, config, said)  # duplicates may have moved identities
    check_rows(model, split.train)
    _start_run(run, config, describe_split(manifest, split, config))
    data = create_data(manifest, model, cache, cache_dir)
    task, data = create_task(model, manifest, config, split, data, cache_dir)
    task = fit_model(task, data, split, config, run, log)
    _plot_history(run)
    if not len(split.test):
        return None
    return answer_table(manifest, split.test, _test(task, data, split, config, run))


def describe_split(manifest: Manifest, split: Split, config: TrainConfig) -> dict[str, Any]:
    """What `config.json` says of a split: its rows, and what of the test rows the training saw.

    `shared_identities` are those with rows on both sides, None where the manifest has no identities;
    `sources` counts the train rows by source.
    """
    names = manifest.identities()
    shared = None if names is None else len(set(names[split.train]) & set(names[split.test]) - {""})
    return {
        "mode": config.split,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "sources": count_sources(manifest, split.train),
        "leaked_duplicates": split.leaked_duplicates,
        "leaked_near_duplicates": split.leaked_near_duplicates,
        "shared_identities": shared,
        "selected_on_test": config.split == "random" and not config.keep_last,
    }


def _test(
    task: ClassificationTask, data: TrainingData, split: Split, config: TrainConfig, run: Path
) -> dict[str, NDArray[np.float32]]:
    """Answers for the test rows by output; every head's metric on them goes to `test_metrics.json`."""
    fabric = Fabric(accelerator="auto", devices=1)
    source = open_source(task.model, data, config.phases()[-1], config)
    outputs = compute_outputs(fabric, task.to(fabric.device), source, split.test)
    metrics = task.metrics(outputs, select_targets(data.targets, split.test))
    _write_json(run / "test_metrics.json", metrics)
    return {name: values.numpy() for name, values in task.model.to_answers(outputs).items()}


def _plot_history(run: Path) -> None:
    history = load_checkpoint(run / LAST)[1]["history"]
    start = next((row["epoch"] for row in history if row["phase"] == "finetune"), None)
    save_figure(plot_curves(history, {"fine-tuning": start} if start else None), run / "curves.png")


def _start_run(run: Path, config: TrainConfig, split: dict[str, Any]) -> None:
    """Write config and environment; a folder of another configuration is not written over."""
    path = run / CONFIG_FILE
    saved = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))  # json turns tuples into lists
    if path.exists() and read_config(path) != saved:
        raise ConfigError(f"{run} holds a run of another configuration.", hint="Give another --out folder.")
    _write_json(path, {"config": config.to_dict(), "split": split})
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "packages": list_versions(PACKAGES),
    }
    _write_json(run / "environment.json", environment)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
