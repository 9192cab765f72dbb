"""The progress of a distillation: its state, beside the weights to come, with its settings and data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from threeages.data.cache import PixelCache
from threeages.data.manifest import Manifest
from threeages.data.split import Rows, Split
from threeages.errors import ConfigError, ModelError
from threeages.files.writing import as_json
from threeages.models.weights import read_about, save_weights
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.identity import DataDigests, check_data, describe_data, describe_files
from threeages.training.state_file import Content, read_state, write_state
from threeages.training.teachers import ENCODER

KIND = "distillation"  # of the states here, among other checkpoints
PROGRESS, BEFORE = ".progress", ".progress.before"  # behind the name of the weights to come
NO_RESULT = ("frozen_cache", "max_cache_gb")  # settings that change no weight
REMOVE = "Remove {} and start the same command again; it starts over."


@dataclass
class Progress:
    """The losses of whole epochs; of the current one its steps, their images and the sum of their losses."""

    losses: list[float]
    step: int = 0
    images: int = 0
    total: float = 0.0

    def add(self, loss: float, images: int) -> None:
        """Count a step with its mean loss over some images."""
        self.step += 1
        self.images += images
        self.total += loss * images

    def end_epoch(self) -> float:
        """The mean loss over the images of the epoch that ends."""
        self.losses.append(self.total / self.images)
        self.step, self.images, self.total = 0, 0, 0.0
        return self.losses[-1]


@dataclass(frozen=True)
class Provenance:
    """The settings and the data that decide about the weights at `out`."""

    out: Path
    settings: Mapping[str, Any]
    data: DataDigests


@dataclass(frozen=True)
class Saved:
    """What lies at `place`: the weights of a finished distillation, or the `state` of a stopped one."""

    place: Path
    settings: Any
    data: Mapping[str, str]
    progress: Progress
    state: Content | None

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise ConfigError where it is of other settings."""
        if self.settings != settings:
            raise ConfigError(
                f"{self.place} is of a distillation with other settings.",
                hint="Give the same options as before or another --out, or remove it to start over.",
            )

    def check_data(self, data: DataDigests) -> None:
        """Raise ConfigError where it is of other images, labels, rows or teachers."""
        check_data(self.data, data, self.place)


def describe_settings(
    config: TrainConfig, distillation: DistillConfig, only: tuple[str, str] | None
) -> dict[str, Any]:
    """The settings that decide about the weights, as json holds them."""
    own = {name: value for name, value in config.to_dict().items() if name not in NO_RESULT}
    settings: dict[str, Any] = as_json({"config": own, "distillation": asdict(distillation), "only": only})
    return settings


def describe_rows(
    manifest: Manifest, crops: PixelCache, faces: Rows, train: Rows, config: TrainConfig, teacher: str | None
) -> DataDigests:
    """Digests of the rows `faces`, of those among them that train, and of both teachers' weights."""
    none = np.empty(0, dtype=np.int64)
    used = replace(crops, digests=crops.digests[faces])
    files = {"weights": (config.model, config.weights), "teacher": (ENCODER, teacher)}
    split = Split(train, none, none, 0)
    return describe_data(manifest.select(faces), split, used) | describe_files(files)


def read_saved(out: Path) -> Saved | None:
    """What `out` holds, else the state beside it; None where there is neither.

    A damaged state is replaced by the one before it, with a warning in the log. Raises ModelError where
    nothing whole is left or the state is none of a distillation, and ConfigError where `out` is none.
    """
    if out.exists():
        return _read_finished(out)
    place = out.with_name(out.name + PROGRESS)
    before = out.with_name(out.name + BEFORE)
    hint = REMOVE.format(f"{place.name} and {before.name}")
    state = read_state(place, before, _describe, hint, kind=KIND)
    if state is None:
        return None
    return Saved(place, state["settings"], state["data"], Progress(**state["progress"]), state)


def save_progress(provenance: Provenance, progress: Progress, states: Mapping[str, Any]) -> None:
    """Write the state beside the weights to come; raises DataError where the disk is full."""
    about = {"kind": KIND, "settings": provenance.settings, "data": provenance.data}
    content = {**about, "progress": asdict(progress), **states}
    out = provenance.out
    write_state(out.with_name(out.name + PROGRESS), out.with_name(out.name + BEFORE), content)


def save_finished(provenance: Provenance, progress: Progress, weights: Mapping[str, Tensor]) -> None:
    """Write the weights with their provenance, and remove the state beside them."""
    about = {"settings": provenance.settings, "data": provenance.data, "losses": progress.losses}
    save_weights(provenance.out, weights, about)
    remove_progress(provenance.out)


def remove_progress(out: Path) -> None:
    """Delete the state beside finished weights."""
    for ending in (PROGRESS, BEFORE):
        out.with_name(out.name + ending).unlink(missing_ok=True)


def _read_finished(out: Path) -> Saved:
    try:
        about = read_about(out)
    except ModelError as error:
        hint = "Give another --out. Weights that distill wrote can be removed: the same command starts over."
        raise ModelError(error.message, hint=hint) from error
    if about is None or not {"settings", "data", "losses"} <= about.keys():
        raise ConfigError(
            f"{out} exists, and threeages distill did not write it.", hint="Give another --out, or remove it."
        )
    return Saved(out, about["settings"], about["data"], Progress(about["losses"]), None)


def _describe(state: Content) -> str:
    progress = Progress(**state["progress"])
    return f"step {progress.step + 1} of epoch {len(progress.losses) + 1}"
