"""Runs that held out the same people, asked together: the mean of their answers over views of a face."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.checkpoint import load_checkpoint
from threeages.config import TrainConfig
from threeages.data.cache import open_cache
from threeages.data.split import Rows
from threeages.errors import ConfigError
from threeages.export import export_onnx
from threeages.images import Pixels
from threeages.manifest import Manifest, find_rows
from threeages.models.heads import YEARS
from threeages.predict import BATCH, OnnxModel
from threeages.predictions import PredictionTable
from threeages.training.run import answer_table, open_data

VIEWS = ("plain", "mirrored", "whole", "whole-mirrored")
Answers = dict[str, NDArray[np.float32]]


def ask_together(
    manifest: Manifest,
    runs: Sequence[Path],
    views: Sequence[str] = VIEWS,
    *,
    only: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> PredictionTable:
    """The mean of the runs' probabilities, and years, over the views of every row that all held out.

    `plain` is the face as in use, `whole` the image without looking for the face. `only` leaves the rows with
    a value in a column. Raises ConfigError on an unknown view and where the runs did not hold out the
    same rows, DataError where no row is left.
    """
    unknown = [view for view in views if view not in VIEWS]
    if unknown or not views:
        raise ConfigError(f"There is no view '{', '.join(unknown)}'.", hint=f"Allowed: {', '.join(VIEWS)}.")
    total: Answers = {}
    held: Rows | None = None
    rows: Rows = np.empty(0, dtype=np.int64)
    for run in runs:
        config = _read_config(run)
        cache, split = open_data(manifest, replace(config, views=1), cache_dir)
        if held is not None and not np.array_equal(held, split.test):
            raise ConfigError(f"{run} held out other rows than {runs[0]}.", hint="Give runs of one fold.")
        held = split.test
        rows = find_rows(manifest.columns, *only, held) if only else held
        model = _export(run)
        for pixels in _open_views(manifest, cache.pixels, views, cache_dir):
            for name, values in ask(model, pixels, rows).items():
                total[name] = total.get(name, 0) + values
    count = np.float32(len(runs) * len(views))
    return answer_table(manifest, rows, {name: values / count for name, values in total.items()})


def _read_config(run: Path) -> TrainConfig:
    try:
        return TrainConfig(**json.loads((run / "config.json").read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{run} holds no run: {error}.", hint="Give folders of threeages train.") from error


def _export(run: Path) -> OnnxModel:
    """The run's model in ONNX Runtime, which on a processor is twice as fast as torch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(load_checkpoint(run)[0], path)
        return OnnxModel(path)


def _open_views(
    manifest: Manifest, plain: Pixels, views: Sequence[str], cache_dir: Path | None
) -> Iterator[Pixels]:
    """uint8 `(n, size, size, 3)` of each view, on disk."""
    for view in views:
        whole = view.startswith("whole")
        pixels = open_cache(manifest, plain.shape[1], folder=cache_dir).pixels if whole else plain
        yield pixels[:, :, ::-1] if view.endswith("mirrored") else pixels


def ask(model: OnnxModel, pixels: Pixels, rows: Rows) -> Answers:
    """What a model says of some rows of uint8 `(n, size, size, 3)`, by output."""
    batches = (pixels[rows[start : start + BATCH]] for start in range(0, len(rows), BATCH))
    probs, years = zip(*map(model.predict_all, batches), strict=True)
    return {"probs": np.concatenate(probs)} | ({YEARS: np.concatenate(years)} if model.has_years else {})
