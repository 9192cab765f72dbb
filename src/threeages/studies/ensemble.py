"""Ensembles with test-time augmentation (TTA): the mean of several runs' outputs on the same test rows."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.cache import PixelCache, open_cache
from threeages.data.checks import check_age_groups
from threeages.data.manifest import Manifest, find_rows
from threeages.data.split import Rows
from threeages.errors import ConfigError
from threeages.evaluation.collect import answer_table, predict_rows
from threeages.evaluation.predictions import PredictionTable
from threeages.export.to_onnx import export_onnx
from threeages.faces.images import Pixels
from threeages.inference.classify import Output
from threeages.inference.runtime import OnnxModel
from threeages.labels import YEARS
from threeages.models.classifier import Classifier
from threeages.training.batches import compute_outputs
from threeages.training.build import create_data, open_data
from threeages.training.checkpoint import load_checkpoint
from threeages.training.checks import plan_split
from threeages.training.frozen import find_features, gains_by_bfloat16
from threeages.training.recipes import read_config

TTA = ("plain", "mirrored", "whole", "whole-mirrored")
Outputs = dict[str, NDArray[np.float32]]


def predict_ensemble(
    manifest: Manifest,
    runs: Sequence[Path],
    tta: Sequence[str] = TTA,
    *,
    only: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> PredictionTable:
    """The mean over runs and their TTA of the probabilities, and years, of the rows that all runs test on.

    `plain` is the face crop as in use, `whole` the image without face detection; a model that never detects
    has the same output for both and runs once. `only` names a column and a value, and selects the rows with
    that value. Raises ConfigError on an unknown augmentation and where the runs' test rows differ, DataError
    where no row is left.
    """
    unknown = [name for name in tta if name not in TTA]
    if unknown or not tta:
        raise ConfigError(
            f"There is no test-time augmentation '{', '.join(unknown)}'.", hint=f"Allowed: {', '.join(TTA)}."
        )
    _check_labels(manifest, runs, only)
    caches, rows = _common_rows(manifest, runs, only, cache_dir)
    by_output: dict[str, list[NDArray[np.float32]]] = {}
    for run, cache in zip(runs, caches, strict=True):
        for name, values in _predict_run(manifest, run, cache, tta, rows, cache_dir).items():
            by_output.setdefault(name, []).append(values)
    return answer_table(manifest, rows, {name: np.mean(v, axis=0) for name, v in by_output.items()})


def _check_labels(manifest: Manifest, runs: Sequence[Path], only: tuple[str, str] | None) -> None:
    """Raise DataError, before any image is read, where no test row that is evaluated has a label."""
    split = plan_split(manifest, read_config(runs[0]))
    rows = find_rows(manifest.columns, *only, split.test) if only else split.test
    check_age_groups(manifest, rows, "test row", least=1)


def _common_rows(
    manifest: Manifest, runs: Sequence[Path], only: tuple[str, str] | None, cache_dir: Path | None
) -> tuple[list[PixelCache], Rows]:
    """The pixels of every run, and the test rows that all of them have."""
    opened = [open_data(manifest, replace(read_config(run), augmented_copies=1), cache_dir) for run in runs]
    rows = opened[0][1].test
    for run, (_, split) in zip(runs, opened, strict=True):
        if not np.array_equal(rows, split.test):
            raise ConfigError(f"{run} has other test rows than {runs[0]}.", hint="Give runs of one fold.")
    return [cache for cache, _ in opened], find_rows(manifest.columns, *only, rows) if only else rows


def _predict_run(
    manifest: Manifest, run: Path, cache: PixelCache, tta: Sequence[str], rows: Rows, cache_dir: Path | None
) -> Outputs:
    """One run's mean over its TTA."""
    model = load_checkpoint(run)[0]
    own = tta if model.signature.alignment else _without_detection(tta)
    outputs = list(_predict_tta(manifest, model, cache, own, rows, cache_dir))
    return {name: np.mean([found[name] for found in outputs], axis=0) for name in outputs[0]}


def _without_detection(tta: Sequence[str]) -> list[str]:
    """The distinct augmentations of a model that takes every image whole."""
    return list(dict.fromkeys("mirrored" if name.endswith("mirrored") else "plain" for name in tta))


def _predict_tta(
    manifest: Manifest,
    model: Classifier,
    cache: PixelCache,
    tta: Sequence[str],
    rows: Rows,
    cache_dir: Path | None,
) -> Iterator[Outputs]:
    """Outputs for each augmentation; `plain` uses the frozen features of the training where they are kept."""
    data = create_data(manifest, model, cache, cache_dir)
    kept = find_features(model, data.key, len(model.net.stages), data.folder)
    if "plain" in tta and kept:
        fabric = Fabric(accelerator="auto", devices=1)
        logits = compute_outputs(fabric, model.to(fabric.device), kept, rows)
        yield {name: values.numpy() for name, values in model.to_answers(logits).items()}
    rest = [name for name in tta if not (name == "plain" and kept)]
    if not rest:
        return
    predict_all = _open_model(model.cpu())
    for name in rest:
        plain = cache.pixels
        whole = open_cache(manifest, plain.shape[1], folder=cache_dir).pixels if "whole" in name else plain
        yield predict_rows(predict_all, whole[:, :, ::-1] if "mirrored" in name else whole, rows)


def _open_model(model: Classifier) -> Callable[[Pixels], Output]:
    """ONNX Runtime, which on a CPU is twice as fast as torch; torch where bfloat16 is faster still."""
    if gains_by_bfloat16(model):
        return lambda pixels: _predict_bfloat16(model, pixels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        return OnnxModel(path).predict_all


def _predict_bfloat16(model: Classifier, pixels: Pixels) -> Output:
    """Probabilities float32 `(n, 3)` of uint8 `(n, size, size, 3)`, and years `(n, 101)` if it has them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        found = {k: v.float().cpu().numpy() for k, v in model.eval().to(device).answers(batch).items()}
    return found["probs"], found.get(YEARS)
