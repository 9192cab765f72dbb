"""Runs that held out the same people, asked together: the mean of their answers over views of a face."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from threeages.data.cache import PixelCache, open_cache
from threeages.data.manifest import Manifest, find_rows
from threeages.data.split import Rows
from threeages.errors import ConfigError
from threeages.evaluation.collect import answer_table
from threeages.evaluation.predictions import PredictionTable
from threeages.export.to_onnx import export_onnx
from threeages.faces.images import Pixels
from threeages.inference.classify import BATCH
from threeages.inference.runtime import OnnxModel
from threeages.labels import YEARS
from threeages.models.classifier import Classifier
from threeages.training.build import create_data, open_data
from threeages.training.checkpoint import load_checkpoint
from threeages.training.frozen import find_features, gains_by_bfloat16
from threeages.training.loop import compute_outputs
from threeages.training.recipes import read_config

VIEWS = ("plain", "mirrored", "whole", "whole-mirrored")
Probs = NDArray[np.float32]
Answers = dict[str, Probs]


def ask_together(
    manifest: Manifest,
    runs: Sequence[Path],
    views: Sequence[str] = VIEWS,
    *,
    only: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> PredictionTable:
    """The mean of the runs' probabilities, and years, over the views of every row that all held out.

    `plain` is the face as in use, `whole` the image without looking for the face; a model that never looks
    for it has one answer to both, and is asked once. `only` leaves the rows with a value in a column. Raises
    ConfigError on an unknown view and where the runs did not hold out the same rows, DataError where no row
    is left.
    """
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        raise ConfigError(f"There is no view '{', '.join(unknown)}'.", hint=f"Allowed: {', '.join(VIEWS)}.")
    total: dict[str, list[Probs]] = {}
    held: Rows | None = None
    rows: Rows = np.empty(0, dtype=np.int64)
    for run in runs:
        config = read_config(run)
        cache, split = open_data(manifest, replace(config, augmented_copies=1), cache_dir)
        if held is not None and not np.array_equal(held, split.test):
            raise ConfigError(f"{run} held out other rows than {runs[0]}.", hint="Give runs of one fold.")
        held = split.test
        rows = find_rows(manifest.columns, *only, held) if only else held
        model = load_checkpoint(run)[0]
        own = views if model.signature.alignment else _unaligned(views)
        answers = list(_ask_views(manifest, model, cache, own, rows, cache_dir))
        for name, values in _mean(answers).items():
            total.setdefault(name, []).append(values)
    return answer_table(manifest, rows, {name: np.mean(values, axis=0) for name, values in total.items()})


class Model(Protocol):
    """What can be asked for a batch of uint8 `(n, size, size, 3)`."""

    @property
    def has_years(self) -> bool:
        """Whether it answers in years too."""

    def predict_all(self, pixels: Pixels) -> tuple[Probs, Probs | None]:
        """float32 `(n, 3)`, and `(n, 101)` where it has years."""


class _HalfModel:
    """A classifier in torch and bfloat16."""

    def __init__(self, model: Classifier) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.eval().to(self._device)
        self.has_years = YEARS in model.net.heads

    def predict_all(self, pixels: Pixels) -> tuple[Probs, Probs | None]:
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16):
            found = {
                name: values.float().cpu().numpy() for name, values in self._model.answers(batch).items()
            }
        return found["probs"], found.get(YEARS)


def _open_model(model: Classifier) -> Model:
    """In ONNX Runtime, which on a processor is twice as fast as torch, but where bfloat16 is faster still."""
    if gains_by_bfloat16(model):
        return _HalfModel(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        return OnnxModel(path)


def _unaligned(views: Sequence[str]) -> list[str]:
    """The distinct views of a model that takes every image whole."""
    return list(dict.fromkeys("mirrored" if view.endswith("mirrored") else "plain" for view in views))


def _ask_views(
    manifest: Manifest,
    model: Classifier,
    cache: PixelCache,
    views: Sequence[str],
    rows: Rows,
    cache_dir: Path | None,
) -> Iterator[Answers]:
    """Answers to each view; what a frozen network makes of the plain one is kept from its training."""
    data = create_data(manifest, model, cache, cache_dir)
    kept = find_features(model, data.key, len(model.net.stages), data.folder)
    if "plain" in views and kept:
        fabric = Fabric(accelerator="auto", devices=1)
        logits = compute_outputs(fabric, model.to(fabric.device), kept, rows)
        yield {name: values.numpy() for name, values in model.to_answers(logits).items()}
    left = [view for view in views if not (view == "plain" and kept)]
    if not left:
        return
    opened = _open_model(model.cpu())
    for view in left:
        whole = view.startswith("whole")
        plain = cache.pixels
        pixels = open_cache(manifest, plain.shape[1], folder=cache_dir).pixels if whole else plain
        yield ask(opened, pixels[:, :, ::-1] if view.endswith("mirrored") else pixels, rows)


def ask(model: Model, pixels: Pixels, rows: Rows) -> Answers:
    """What a model says of some rows of uint8 `(n, size, size, 3)`, by output."""
    batches = (pixels[rows[start : start + BATCH]] for start in range(0, len(rows), BATCH))
    probs, years = zip(*map(model.predict_all, batches), strict=True)
    return {"probs": np.concatenate(probs)} | ({YEARS: np.concatenate(years)} if model.has_years else {})


def _mean(answers: Sequence[Answers]) -> Answers:
    """Of answers by the same outputs."""
    return {name: np.mean([found[name] for found in answers], axis=0) for name in answers[0]}
