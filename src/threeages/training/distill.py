"""Distillation: a network adapted to small and poor images of faces, without labels, by larger teachers."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.cache import open_cache
from threeages.data.manifest import Manifest, find_rows
from threeages.data.online_augment import OnlineAugmenter, create_pool
from threeages.data.split import Rows
from threeages.files.locks import hold_file
from threeages.models.classifier import Classifier
from threeages.progress import track_progress
from threeages.training.autosave import SaveTimer, capture_random, restore_random
from threeages.training.batches import split_rows
from threeages.training.build import create_model, open_data
from threeages.training.checks import plan_split
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.device_augment import (
    DeviceBatch,
    augments,
    create_drawing_thread,
    open_device_augmenter,
    send_batch,
)
from threeages.training.device_rows import send
from threeages.training.distill_losses import FeatureLoss, TokenLoss
from threeages.training.distill_progress import (
    PROGRESS,
    Progress,
    Provenance,
    Saved,
    describe_rows,
    describe_settings,
    read_saved,
    remove_progress,
    save_finished,
    save_progress,
)
from threeages.training.divergence import loss_error
from threeages.training.frozen import StageSlice
from threeages.training.optimizer import choose_precision
from threeages.training.teachers import open_encoder_tokens, open_network_features

logger = logging.getLogger(__name__)

# batches of rows, the seed of their epoch and the number of the first one, to the batches augmented
Augment = Callable[[Iterable[Rows], tuple[int, ...], int], Iterator[DeviceBatch]]
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
            None if kept is None else send(kept[rows], device).float()
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
    some rows. Yields the mean loss of every epoch. A stopped distillation resumes from its last state, at
    most a minute old, which is kept beside `out`; a finished one is not repeated. The file is for
    `--weights` (results/experiments.csv).

    Raises DataError where no row is left to train on, ConfigError where `out` or the state beside it are of
    other data, teachers or settings, BusyError where another process writes it, and ThreeAgesError where the
    loss is not finite.
    """
    select_rows(manifest, plan_split(manifest, config).train, only)
    settings = describe_settings(config, distillation, only)
    with hold_file(out):
        saved = read_saved(out)
        if saved:
            saved.check_settings(settings)
        crops, split = open_data(manifest, replace(config, augmented_copies=1), cache_dir)
        rows = select_rows(manifest, split.train, only)
        data = describe_rows(manifest, crops, rows.faces, rows.train, config, distillation.teacher)
        if saved:
            saved.check_data(data)
        if saved and saved.state is None:
            logger.info("%s is finished already; remove it to distill again.", out)
            remove_progress(out)
            yield from saved.progress.losses
            return
        wholes = open_cache(manifest, config.input_size, folder=cache_dir)
        augmenter = OnlineAugmenter(crops.file, wholes.file, config.augmentation)
        student = create_model(config)
        teachers = open_teachers(manifest.select(rows.faces), config, distillation, student, cache_dir)
        state = _create_state(student, teachers, rows.train, config, distillation)
        progress = _resume(state, saved)
        yield from list(progress.losses)
        training = _Training(
            state, teachers, rows, augmenter, config, Provenance(out, settings, data), progress
        )
        yield from _train(training, distillation.epochs)
        save_finished(training.provenance, progress, student.net.features.state_dict())


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
    """What training changes."""

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


@dataclass(frozen=True)
class _Training:
    """The state, all that a step needs beside it, and how far the training is."""

    state: _State
    teachers: Teachers
    rows: DistillationRows
    augmenter: OnlineAugmenter
    config: TrainConfig
    provenance: Provenance
    progress: Progress
    timer: SaveTimer = field(default_factory=SaveTimer)

    def save(self) -> None:
        """Write the state as it is now, between two steps."""
        states = {name: part.state_dict() for name, part in self.state.parts().items()}
        # an order is drawn once an epoch, from its own seed: torch's generators alone are in use between
        random = capture_random(np.random.default_rng(0))
        with self.timer.save():
            save_progress(self.provenance, self.progress, {**states, "random": random})


def _resume(state: _State, saved: Saved | None) -> Progress:
    """Load the saved state, the random ones last: creating the parts draws numbers."""
    if saved is None or saved.state is None:
        return Progress([])
    for name, part in state.parts().items():
        part.load_state_dict(saved.state[name])
    restore_random(saved.state["random"], np.random.default_rng(0))
    return saved.progress


def _train(training: _Training, epochs: int) -> Iterator[float]:
    """Train the epochs that are left, each to its last step; yields their mean losses."""
    with _open_batches(training) as augment:
        while len(training.progress.losses) < epochs:
            _train_epoch(training, augment)
            loss = training.progress.end_epoch()
            if training.timer.is_affordable():
                training.save()
            yield loss


@contextmanager
def _open_batches(training: _Training) -> Iterator[Augment]:
    """How batches are augmented: on a GPU that trains, else by processes beside the one that trains."""
    device, augmenter = training.state.fabric.device, training.augmenter
    if augments(device):
        on_device = open_device_augmenter(augmenter, training.rows.faces[training.rows.train], device)
        with create_drawing_thread() as thread:
            yield partial(on_device.augment_batches, thread)
        return
    with create_pool() as pool:
        yield lambda *batches: (send_batch(b, device) for b in augmenter.augment_batches(pool, *batches))


def _train_epoch(training: _Training, augment: Augment) -> None:
    """The steps of the current epoch that are left."""
    progress, first = training.progress, training.progress.step
    epoch = len(progress.losses)
    seed = (training.config.seed, epoch)
    order = np.random.default_rng(seed).permutation(training.rows.train)
    batches = list(split_rows(order, training.config.batch_size))[first:]
    faces = (training.rows.faces[batch] for batch in batches)
    images = augment(faces, seed, first)
    for batch, augmented in track_progress(
        zip(batches, images, strict=True), f"Epoch {epoch + 1}", len(batches)
    ):
        loss = _train_step(training.state, training.teachers, batch, augmented)
        if not math.isfinite(loss):
            raise loss_error(loss, progress.step, epoch, _choose_hint(training.provenance.out))
        progress.add(loss, len(batch))
        if training.timer.is_due():
            training.save()


def _choose_hint(out: Path) -> str:
    """What to do where the loss is not finite."""
    return (
        "Lower --lr and --projection-lr, or use --precision 32-true, with another --out; "
        f"{out.name}{PROGRESS} holds the last state saved before."
    )


def _train_step(state: _State, teachers: Teachers, rows: Rows, batch: DeviceBatch) -> float:
    """The loss of one batch; the weights change only where it is finite."""
    maps = state.backbone(batch.pixels).float()
    targets = teachers.select(rows, state.fabric.device)
    loss = state.loss(maps, *targets, batch.is_crop, batch.transforms)
    if torch.isfinite(loss):
        state.optimizer.zero_grad()
        state.fabric.backward(loss)
        state.optimizer.step()
        state.schedule.step()
    return float(loss.item())
