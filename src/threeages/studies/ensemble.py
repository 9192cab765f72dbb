"""Ensembles with test-time augmentation (TTA): the mean of several runs' outputs on the same test rows."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.cache import PixelCache, open_cache
from threeages.data.checks import check_age_groups
from threeages.data.manifest import Manifest, find_rows
from threeages.data.split import Rows, Split
from threeages.errors import ConfigError
from threeages.evaluation.collect import answer_table, predict_rows
from threeages.evaluation.predictions import PredictionTable
from threeages.evaluation.provenance import read_provenance
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
from threeages.training.config import TrainConfig
from threeages.training.frozen import find_features, gains_by_bfloat16
from threeages.training.identity import describe_data
from threeages.training.recipes import read_config
from threeages.training.run_folder import read_data

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
    that value. Raises ConfigError on an unknown augmentation, where the runs' test rows differ and where a
    run was trained on other images, ModelError where its checkpoint is missing or damaged, DataError where no
    row is left.
    """
    unknown = [name for name in tta if name not in TTA]
    if unknown or not tta:
        raise ConfigError(
            f"There is no test-time augmentation '{', '.join(unknown)}'.", hint=f"Allowed: {', '.join(TTA)}."
        )
    members = [_open_member(run) for run in runs]  # all of them first: one may be damaged
    _check_labels(manifest, members[0], only)
    caches, rows = _common_rows(manifest, members, only, cache_dir)
    by_output: dict[str, list[NDArray[np.float32]]] = {}
    for member, cache in zip(members, caches, strict=True):
        for name, values in _predict_run(manifest, member.model, cache, tta, rows, cache_dir).items():
            by_output.setdefault(name, []).append(values)
    table = answer_table(manifest, rows, {name: np.mean(v, axis=0) for name, v in by_output.items()})
    return replace(table, provenance=read_provenance(runs[0]))  # of one fold, and so of one split


@dataclass(frozen=True)
class _Member:
    """A run's kept model, its settings, and the digests of what it was trained on."""

    run: Path
    model: Classifier
    config: TrainConfig
    data: Mapping[str, str]


def _check_labels(manifest: Manifest, first: _Member, only: tuple[str, str] | None) -> None:
    """Raise before any image is read: ConfigError without test rows, DataError where none has a label."""
    test = plan_split(manifest, first.config).test
    if not len(test):
        raise ConfigError(
            f"{first.run} trained on every row, and has no test rows.",
            hint="Give runs that held some out.",
        )
    rows = find_rows(manifest.columns, *only, test) if only else test
    check_age_groups(manifest, rows, "test row", least=1)


def _open_member(run: Path) -> _Member:
    model, state = load_checkpoint(run)
    config = TrainConfig.from_dict(state["config"]) if "config" in state else read_config(run)
    return _Member(run, model, config, read_data(run))


def _common_rows(
    manifest: Manifest, members: Sequence[_Member], only: tuple[str, str] | None, cache_dir: Path | None
) -> tuple[list[PixelCache], Rows]:
    """The pixels of every run, and the test rows that all of them have."""
    opened = [open_data(manifest, replace(m.config, augmented_copies=1), cache_dir) for m in members]
    rows = opened[0][1].test
    for member, (cache, split) in zip(members, opened, strict=True):
        _check_images(manifest, member, cache, split)
        if not np.array_equal(rows, split.test):
            raise ConfigError(
                f"{member.run} has other test rows than {members[0].run}.", hint="Give runs of one fold."
            )
    return [cache for cache, _ in opened], find_rows(manifest.columns, *only, rows) if only else rows


def _check_images(manifest: Manifest, member: _Member, cache: PixelCache, split: Split) -> None:
    """Raise ConfigError where the run split other images, so that it may have trained on its test rows here.

    A run whose training state was deleted says nothing of its images, and is taken.
    """
    found = describe_data(manifest, split, cache)
    if any(member.data.get(name, found[name]) != found[name] for name in ("images", "split")):
        raise ConfigError(
            f"{member.run} was trained on other images or another split than this manifest's.",
            hint="Give the manifest that it was trained on.",
        )


def _predict_run(
    manifest: Manifest,
    model: Classifier,
    cache: PixelCache,
    tta: Sequence[str],
    rows: Rows,
    cache_dir: Path | None,
) -> Outputs:
    """One run's mean over its TTA."""
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
