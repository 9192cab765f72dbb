"""One training from manifest to an evaluated run folder."""

import logging
import platform
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from threeages.data.cache import PixelCache
from threeages.data.correcting import count_corrections
from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.data.split_notes import count_shared_identities, describe_leakage
from threeages.data.terms import count_sources
from threeages.data.train_digests import TrainDigests, create_train_digests, save_train_digests
from threeages.evaluation.collect import answer_table
from threeages.evaluation.plots import plot_curves, save_figure
from threeages.evaluation.predictions import PredictionTable
from threeages.files.locks import hold_folder
from threeages.files.writing import write_json
from threeages.machine import ONNX_RUNTIME, OPENCV, list_versions
from threeages.training.batches import TrainingData, compute_outputs, open_source
from threeages.training.build import create_data, create_model, create_task, open_data
from threeages.training.checks import check_labels, check_ranks, check_rows, check_sides, check_training
from threeages.training.config import TrainConfig
from threeages.training.epochs import Epoch
from threeages.training.fit import fit_model
from threeages.training.identity import DataDigests, check_data, describe_data, describe_files
from threeages.training.losses import find_column
from threeages.training.memory import explain_memory
from threeages.training.ranks import Ranks
from threeages.training.run_folder import check_config, read_run, write_config
from threeages.training.tasks import ClassificationTask, select_targets
from threeages.training.teachers import ENCODER
from threeages.training.tracking.tracking import Tracking

logger = logging.getLogger(__name__)

PACKAGES = ("threeages", "torch", "numpy", "pillow", *OPENCV, *ONNX_RUNTIME)


def run_training(
    manifest: Manifest,
    config: TrainConfig,
    run: Path,
    *,
    cache_dir: Path | None = None,
    log: Callable[[Epoch], None] | None = None,
    tracking: Tracking | None = None,
    ranks: Ranks | None = None,
) -> PredictionTable | None:
    """Train as `config` says into the folder `run`; the predictions on the test rows, None without any.

    Resumes where the folder holds a stopped training of the same settings. `log` is given the metrics of
    every epoch, and `tracking` the settings and the split too. What can be checked is checked before an
    image is read, see `check_labels`. Raises DataError where an image cannot be read (`threeages data audit`
    finds them) or a tracker fails before the first epoch, BusyError where another process trains into the
    folder, and ConfigError where it holds a training of other settings, images, labels, weights or of
    another split. With `ranks` every process of a training calls it with the same; the first writes, and the
    others return None.
    """
    ranks = ranks or Ranks()
    check_ranks(config, ranks.size)
    said = check_labels(manifest, config)
    model = create_model(config, manifest)
    check_training(model, config)
    with hold_folder(run) if ranks.is_main else nullcontext():
        saved = read_run(run) if ranks.is_main else None
        if saved:
            check_config(saved, config, run)
        with ranks.in_turns():
            cache, split = open_data(manifest, config, cache_dir)
        check_sides(manifest, split, config, said)  # duplicates may have moved identities
        check_rows(model, split.train)
        for sentence in describe_leakage(manifest, split, config.split):
            logger.warning("%s", sentence)
        notes = {
            "data": describe_run_data(manifest, config, split, cache),
            "split": describe_split(manifest, split, config),
        }
        if saved:
            check_data(saved.get("data"), notes["data"], run)
        ranks.check_same(notes["data"])
        data = create_data(manifest, model, cache, cache_dir)
        with ranks.in_turns():
            task, data = create_task(model, manifest, config, split, data, cache_dir)
        if ranks.is_main:
            _start_run(run, config, notes["split"], ranks.size)
            save_train_digests(collect_train_digests(manifest, split, cache), run)
            if tracking:
                tracking.start(run, config.to_dict(), notes["split"], saved["history"] if saved else [])
        with explain_memory(config.batch_size, config.input_size):
            task = fit_model(task, data, split, config, run, _join(log, tracking), notes, ranks)
            answers, metrics = _test(task, data, split, config, ranks) if len(split.test) else ({}, {})
        if ranks.is_main:
            _plot_history(run, config)
        if not (ranks.is_main and answers):
            return None
        write_json(run / "test_metrics.json", metrics)
        return answer_table(manifest, split.test, answers)


def _join(log: Callable[[Epoch], None] | None, tracking: Tracking | None) -> Callable[[Epoch], None]:
    """One function that gives an epoch to both."""

    def log_epoch(epoch: Epoch) -> None:
        if log:
            log(epoch)
        if tracking:
            tracking.log_epoch(epoch)

    return log_epoch


def describe_run_data(
    manifest: Manifest, config: TrainConfig, split: Split, images: PixelCache
) -> DataDigests:
    """Digests of everything beside the settings that decides a training's result."""
    columns = [find_column(name) for name in config.extra_heads]
    files = {"weights": (config.model, config.weights), "teacher": (ENCODER, config.teacher)}
    return describe_data(manifest, split, images, columns) | describe_files(files)


def collect_train_digests(manifest: Manifest, split: Split, images: PixelCache) -> TrainDigests:
    """Digests of the images and identities of the train rows, which tell later what was trained on."""
    names = manifest.identities()
    known = None if names is None else names[split.train].tolist()
    return create_train_digests(images.digests[split.train], known)


def describe_split(manifest: Manifest, split: Split, config: TrainConfig) -> dict[str, Any]:
    """What `config.json` says of a split: its rows, and what of the test rows the training saw.

    `shared_identities` are those with rows on both sides, None where it is not known (data.split_notes);
    `sources` counts the train rows by source. `corrections` counts the labels of each side that a review
    corrected, by its file; it is there where there are any.
    """
    return {
        "mode": config.split,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "sources": count_sources(manifest, split.train),
        "leaked_duplicates": split.leaked_duplicates,
        "leaked_near_duplicates": split.leaked_near_duplicates,
        "shared_identities": count_shared_identities(manifest, split),
        "selected_on_test": config.split == "random" and not config.keep_last,
        **_describe_corrections(manifest, split),
    }


def _describe_corrections(manifest: Manifest, split: Split) -> dict[str, Any]:
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    found = {name: count_corrections(manifest.columns, side.tolist()) for name, side in sides.items()}
    return {"corrections": found} if any(found.values()) else {}


def _test(
    task: ClassificationTask, data: TrainingData, split: Split, config: TrainConfig, ranks: Ranks
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
    """Answers for the test rows by output, and every head's metric on them."""
    fabric = ranks.create_fabric()
    source = open_source(task.model, data, config.phases()[-1], config)
    outputs = compute_outputs(fabric, task.to(fabric.device), source, split.test, ranks)
    metrics = task.metrics(outputs, select_targets(data.targets, split.test))
    return {name: values.numpy() for name, values in task.model.to_answers(outputs).items()}, metrics


def _plot_history(run: Path, config: TrainConfig) -> None:
    content = read_run(run)
    history, best = (content["history"], content["best"]) if content else ([], None)
    marks = {} if best is None or config.keep_last else {"best": best["epoch"]}
    start = next((row["epoch"] for row in history if row["phase"] == "finetune"), None)
    marks |= {"fine-tuning": start} if start else {}
    save_figure(plot_curves(history, marks), run / "curves.png")


def _start_run(run: Path, config: TrainConfig, split: dict[str, Any], processes: int) -> None:
    """Write what is known before the first epoch: settings, split and environment."""
    write_config(run, config.to_dict(), split)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    environment = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "packages": list_versions(PACKAGES),
    }
    write_json(run / "environment.json", environment)
