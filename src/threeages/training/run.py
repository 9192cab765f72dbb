"""One training from manifest to a judged run folder."""

import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.config import TrainConfig
from threeages.data.cache import open_cache
from threeages.data.split import Rows, Split, create_split
from threeages.errors import ConfigError, DataError
from threeages.manifest import Manifest, atomic_path
from threeages.models.classifier import SIGNATURES, Classifier, create_classifier
from threeages.plots import plot_curves, save_figure
from threeages.predictions import OK, PredictionTable
from threeages.training import fit as fitting
from threeages.training import probe


def train(
    manifest: Manifest, config: TrainConfig, run: Path, *, cache_dir: Path | None = None
) -> PredictionTable | None:
    """Train as `config` says into the folder `run`; the predictions on the test rows, or None without any.

    Images that cannot be read raise DataError: train on what `threeages data audit` finds sound.
    """
    model = _create(config)
    cache = open_cache(manifest, config.input_size, folder=cache_dir)
    if cache.failed:
        first = next(iter(cache.failed))
        raise DataError(
            f"{len(cache.failed)} images cannot be read: {manifest.paths[first]} ({cache.failed[first]}) ...",
            hint="Run: threeages data audit MANIFEST, then leave their rows out.",
        )
    split = create_split(
        manifest, cache.digests, config.split, fold=config.fold, folds=config.folds, seed=config.seed
    )
    notes = {"train": len(split.train), "select": len(split.select), "test": len(split.test)}
    notes |= {"straddling_duplicates": split.straddling}
    _start_run(run, config, notes)
    probs: NDArray[Any] | None
    if config.method == "probe":
        model, probs = _probe(
            model, cache.pixels, cache.digests, manifest.labels, split, config, run, cache_dir
        )
    else:
        model = fitting.fit(model, cache.pixels, manifest.labels, split, config, run)
        save_figure(plot_curves(load_checkpoint(run / LAST)[1]["history"]), run / "curves.png")
        fabric = Fabric(accelerator="auto", devices=1)
        probs = (
            fitting.compute_probs(fabric, model.to(fabric.device), cache.pixels, split.test)
            if len(split.test)
            else None
        )
    return None if probs is None else _table(manifest, split.test, probs)


def _create(config: TrainConfig) -> Classifier:
    if config.model not in SIGNATURES:
        raise ConfigError(f"There is no model '{config.model}'.", hint=f"Allowed: {', '.join(SIGNATURES)}.")
    torch.manual_seed(config.seed)
    return create_classifier(replace(SIGNATURES[config.model], input_size=config.input_size))


def _probe(
    model: Classifier,
    pixels: NDArray[np.uint8],
    digests: NDArray[np.uint8],
    labels: Rows,
    split: Split,
    config: TrainConfig,
    run: Path,
    cache_dir: Path | None,
) -> tuple[Classifier, NDArray[np.float64] | None]:
    probe.load_backbone(model, Path(config.weights))
    folder = cache_dir or probe.DEFAULT_FOLDER
    features = probe.compute_features(model, pixels, digests.tobytes(), folder)
    model, chosen = probe.fit_head(model, features, labels, split, config.l2, config.temperature)
    save_checkpoint(run / BEST, model, config=config.to_dict(), history=[chosen])
    return model, probe.head_probs(model, features[split.test]) if len(split.test) else None


def _start_run(run: Path, config: TrainConfig, notes: dict[str, int]) -> None:
    """Write config and environment; a folder of another configuration is not written over."""
    path = run / "config.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["config"] != config.to_dict():
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


def _table(manifest: Manifest, rows: Rows, probs: NDArray[np.floating]) -> PredictionTable:
    held = manifest.select(rows)
    p = np.asarray(probs, dtype=np.float64)
    return PredictionTable(held.paths, held.labels, (OK,) * len(held), p, p.max(axis=1), held.columns)
