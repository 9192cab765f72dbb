"""One training from manifest to a judged run folder."""

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.errors import ConfigError
from threeages.evaluation.collect import answer_table
from threeages.evaluation.plots import plot_curves, save_figure
from threeages.evaluation.predictions import PredictionTable
from threeages.files import atomic_path
from threeages.models.classifier import Classifier
from threeages.training import loop as fitting
from threeages.training.build import create_data, create_model, open_data
from threeages.training.checkpoint import LAST, load_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.losses import TEACHER
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
    notes = {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    _start_run(run, config, notes | {"leaked_duplicates": split.leaked_duplicates})
    data = create_data(manifest, model, cache, cache_dir)
    if config.teacher:
        alignment = model.signature.alignment
        tower = open_tower(manifest, config.teacher, alignment, cache_dir, whole=True)
        data.targets[TEACHER] = standardize(tower.kept, split.train)
    model = fitting.fit(model, data, split, config, run, log)
    _draw_curves(run)
    if not len(split.test):
        return None
    return answer_table(manifest, split.test, _test(model, data, split, config, run))


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
