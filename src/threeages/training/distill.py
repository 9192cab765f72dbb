"""Distillation: a network adapted to small and poor images of faces, without labels, by larger teachers."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from threeages.data.cache import open_cache
from threeages.data.manifest import Manifest, find_rows
from threeages.data.online_augment import AugmentedBatch, OnlineAugmenter, create_pool
from threeages.data.split import Rows
from threeages.errors import ConfigError
from threeages.files import atomic_path
from threeages.models.classifier import Classifier
from threeages.progress import track_progress
from threeages.training.batches import split_rows
from threeages.training.build import create_model, open_data
from threeages.training.checks import plan_split
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.distill_losses import FeatureLoss, TokenLoss
from threeages.training.frozen import StageSlice
from threeages.training.optimizer import choose_precision
from threeages.training.teachers import open_encoder_tokens, open_network_features

REFERENCE_BATCH = 64  # images a step that the learning rates are meant for; they grow by the batch's root


@dataclass(frozen=True)
class DistillationRows:
    """`faces` are the manifest's rows that teachers see, whatever the fold; `train` counts within these."""

    faces: Rows
    train: Rows


@dataclass(frozen=True)
class Teachers:
    """Features of every face: of the network as published `(n, f)`, and an encoder's tokens `(n, p, t)`."""

    network: NDArray[np.float16]
    encoder: NDArray[np.float16] | None

    def select(self, rows: Rows, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """float32 features, and tokens, of some faces."""
        network, encoder = (
            None if kept is None else torch.from_numpy(kept[rows]).to(device).float()
            for kept in (self.network, self.encoder)
        )
        assert network is not None
        return network, encoder


def run_distillation(
    manifest: Manifest,
    config: TrainConfig,
    distillation: DistillConfig,
    out: Path,
    *,
    only: tuple[str, str] | None = None,
    cache_dir: Path | None = None,
) -> Iterator[float]:
    """Train the backbone that `config` names to reproduce its teachers' features; written to `out`.

    The first teacher is the same network as published, on each face at its published size; the second,
    where `distillation.teacher` names its weights, CLIP's image encoder. The student sees augmented crops at
    the size of `config`, and never a row that its fold holds out; `only` (column, value) restricts both to
    some rows. Yields the mean loss of every epoch. A stopped distillation resumes from the last complete
    epoch, which is kept beside `out`. The file is for `--weights` (results/experiments.csv).

    Raises DataError where no row is left to train on, ConfigError where the progress beside `out` is of
    other settings.
    """
    select_rows(manifest, plan_split(manifest, config).train, only)
    crops, split = open_data(manifest, replace(config, augmented_copies=1), cache_dir)
    wholes = open_cache(manifest, config.input_size, folder=cache_dir)
    rows = select_rows(manifest, split.train, only)
    student = create_model(config)
    teachers = open_teachers(manifest.select(rows.faces), config, distillation, student, cache_dir)
    state = _create_state(student, teachers, rows.train, config, distillation)
    settings = {"config": config.to_dict(), "distillation": asdict(distillation), "only": only}
    progress = out.with_name(out.name + ".progress")
    losses = _load_progress(progress, settings, state)
    yield from losses
    augmenter = OnlineAugmenter(crops.file, wholes.file, config.augmentation)
    with create_pool() as pool:
        for epoch in range(len(losses), distillation.epochs):
            seed = (config.seed, epoch)
            order = list(split_rows(np.random.default_rng(seed).permutation(rows.train), config.batch_size))
            images = augmenter.augment_batches(pool, (rows.faces[batch] for batch in order), seed)
            steps = track_progress(zip(order, images, strict=True), f"Epoch {epoch + 1}", len(order))
            losses.append(_train_epoch(state, teachers, steps))
            _save_progress(progress, settings, state, losses)
            yield losses[-1]
    with atomic_path(out) as part:
        save_file({k: v.contiguous().cpu() for k, v in student.net.features.state_dict().items()}, part)
    progress.unlink()


def select_rows(manifest: Manifest, train: Rows, only: tuple[str, str] | None) -> DistillationRows:
    """All rows and those in `train`, of the rows with a value in a column where `only` gives both.

    Raises DataError where none is left in either.
    """
    faces: Rows = np.arange(len(manifest))
    if only:
        faces, train = (find_rows(manifest.columns, *only, rows) for rows in (faces, train))
    return DistillationRows(faces, np.flatnonzero(np.isin(faces, train)))


def open_teachers(
    faces: Manifest,
    config: TrainConfig,
    distillation: DistillConfig,
    student: Classifier,
    cache_dir: Path | None,
) -> Teachers:
    """Their features of every face; the encoder sees faces aligned as the student's."""
    network = open_network_features(
        faces, config.model, config.weights, cache_dir, seed=config.seed, max_gb=config.max_cache_gb
    )
    encoder = None
    if distillation.teacher is not None:
        alignment = student.signature.alignment
        encoder = open_encoder_tokens(
            faces, distillation.teacher, alignment, cache_dir, max_gb=config.max_cache_gb
        )
    return Teachers(network, encoder)


class DistillationLoss(nn.Module):
    """What the student's last maps `(b, f, h, w)` lack of both teachers' features."""

    def __init__(self, teachers: Teachers, train: Rows) -> None:
        super().__init__()
        channels = teachers.network.shape[1]
        self.features = FeatureLoss(teachers.network, train)
        self.tokens = None if teachers.encoder is None else TokenLoss(channels, teachers.encoder, train)

    def forward(
        self, maps: Tensor, network: Tensor, encoder: Tensor | None, is_crop: Tensor, transforms: Tensor
    ) -> Tensor:
        """The sum of the losses of a batch (training.distill_losses)."""
        loss: Tensor = self.features(maps.mean(dim=(2, 3)), network)
        if self.tokens is not None and encoder is not None:
            loss = loss + self.tokens(maps, encoder, is_crop, transforms)
        return loss


@dataclass(frozen=True)
class _State:
    """What training changes; the progress file holds all of it."""

    fabric: Fabric
    backbone: nn.Module  # the student before its pooling
    loss: DistillationLoss
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def parts(self) -> dict[str, Any]:
        """Everything with a state, by name."""
        return {
            "backbone": self.backbone,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def _create_state(
    student: Classifier, teachers: Teachers, train: Rows, config: TrainConfig, distillation: DistillConfig
) -> _State:
    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    loss = DistillationLoss(teachers, train).to(fabric.device)
    scale = math.sqrt(config.batch_size / REFERENCE_BATCH)
    groups = [{"params": list(student.net.features.parameters()), "lr": distillation.lr * scale}]
    if projections := list(loss.parameters()):
        groups.append({"params": projections, "lr": distillation.projection_lr * scale})
    optimizer = torch.optim.Adam(groups, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        distillation.epochs * -(-len(train) // config.batch_size),
        pct_start=distillation.warm_up,
        cycle_momentum=False,
    )
    backbone = StageSlice(student, 0, len(student.net.stages) - 1).train()
    backbone, optimizer = fabric.setup(backbone, optimizer)
    return _State(fabric, backbone, loss, optimizer, schedule)


def _train_epoch(state: _State, teachers: Teachers, steps: Iterable[tuple[Rows, AugmentedBatch]]) -> float:
    """The mean loss over the images of every step."""
    total, n = 0.0, 0
    for rows, batch in steps:
        total += _train_step(state, teachers, rows, batch) * len(rows)
        n += len(rows)
    return total / n


def _train_step(state: _State, teachers: Teachers, rows: Rows, batch: AugmentedBatch) -> float:
    device = state.fabric.device
    pixels, is_crop, transforms = (
        torch.from_numpy(values).to(device) for values in (batch.pixels, batch.is_crop, batch.transforms)
    )
    maps = state.backbone(pixels).float()
    loss = state.loss(maps, *teachers.select(rows, device), is_crop, transforms)
    state.optimizer.zero_grad()
    state.fabric.backward(loss)
    state.optimizer.step()
    state.schedule.step()
    return float(loss.item())


def _save_progress(path: Path, settings: dict[str, Any], state: _State, losses: list[float]) -> None:
    states = {name: part.state_dict() for name, part in state.parts().items()}
    with atomic_path(path) as part:
        torch.save({"settings": settings, "losses": losses, **states}, part)


def _load_progress(path: Path, settings: dict[str, Any], state: _State) -> list[float]:
    """Losses of the epochs done before, whose state is loaded; raises ConfigError."""
    if not path.exists():
        return []
    held = torch.load(path, map_location="cpu", weights_only=True)
    if held["settings"] != settings:
        raise ConfigError(
            f"{path} holds the progress of other settings.",
            hint="Continue with those, give another --out, or remove it.",
        )
    for name, part in state.parts().items():
        part.load_state_dict(held[name])
    losses: list[float] = held["losses"]
    return losses
