"""A pretrained network made fit for small and poor faces, from what larger ones make of clear faces."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from threeages.data.cache import open_cache
from threeages.data.manifest import Manifest, find_rows
from threeages.data.mixup import Mixture, draw_mixture
from threeages.data.online_views import Drawing, Moves, create_pool
from threeages.errors import ConfigError
from threeages.faces.images import Pixels
from threeages.files import atomic_path
from threeages.models.classifier import Classifier
from threeages.models.registry import SIGNATURES
from threeages.training.build import create_model, open_data
from threeages.training.config import TrainConfig
from threeages.training.distill_losses import FeatureLesson, TokenLesson
from threeages.training.frozen import Stretch
from threeages.training.loop import batches, choose_precision
from threeages.training.malloc import keep_freed_memory
from threeages.training.teachers import Teacher, open_network, open_tower

LR, LESSON_LR = 4e-4, 1e-3  # of batches of 64 faces; of others by the root of their size
LR_BATCH = 64
WARM_UP = 0.05  # of all steps


def adapt(
    manifest: Manifest,
    config: TrainConfig,
    out: Path,
    *,
    only: tuple[str, str] | None = None,
    teacher: Path | None = None,
    start: Path | None = None,
    mix: float = 0.0,
    epochs: int = 4,
    cache_dir: Path | None = None,
) -> Iterator[float]:
    """Teach the recipe's network to see in any view of a face what larger ones see in it; written to `out`.

    One teacher is the network itself as published, on each face at the size and as closely cut as its
    signature says.
    A second is CLIP's image tower, where `teacher` names its weights: the student learns what the tower
    makes of every patch of the same cut (training.lessons), most of which no label would teach it. The
    student is given views of the face at the recipe's size, each drawn anew (data.drawing), of which the
    share `mix` shows two faces in one (data.mixture). It begins as published, or with what an earlier call
    wrote to `start`. No label is used, and no row that the fold of `config` holds out is learnt from; `only`
    leaves the rows with a value in a column, and raises DataError where none may be learnt from. The
    teachers are asked about all of these once, for every fold, and about two faces in one whenever they are
    drawn. Yields the loss of every epoch; stopped, it goes on from the last whole one, kept beside `out`.
    The file is for `--weights`; what it brings is in results/experiments.csv.
    """
    keep_freed_memory()
    cache, split = open_data(manifest, replace(config, views=1), cache_dir)
    every = np.arange(len(manifest))
    rows, train = (find_rows(manifest.columns, *only, r) if only else r for r in (every, split.train))
    faces, learnt = manifest.select(rows), np.flatnonzero(np.isin(rows, train))
    student = create_model(replace(config, weights=str(start)) if start else config, faces)
    teachers = [open_network(faces, _as_published(config), cache_dir)]
    lessons: list[nn.Module] = [FeatureLesson(teachers[0].kept, learnt)]
    if teacher:
        teachers.append(open_tower(faces, str(teacher), student.signature.alignment, cache_dir))
        lessons.append(TokenLesson(teachers[1].kept, learnt, teachers[0].kept.shape[1]))

    steps = epochs * -(-len(learnt) // config.batch_size)
    course = _create_course(student, nn.ModuleList(lessons), config, steps)
    progress = out.with_name(out.name + ".progress")
    settings = {"config": config.to_dict(), "epochs": epochs, "only": only and list(only), "mix": mix}
    settings |= {"teacher": teacher and str(teacher), "start": start and str(start)}
    losses = _load_progress(progress, settings, course)
    yield from losses
    drawing = Drawing(cache.file, open_cache(manifest, config.input_size, folder=cache_dir).file)
    with create_pool() as pool:
        for epoch in range(len(losses), epochs):
            rng = np.random.default_rng((config.seed, epoch))
            order = [
                draw_mixture(batch, learnt, mix, rng)
                for batch in batches(rng.permutation(learnt), config.batch_size)
            ]
            views = drawing.draw(pool, (shown.numbered(rows) for shown in order), (config.seed, epoch))
            seen = track(zip(order, views, strict=True), f"Epoch {epoch + 1}", total=len(order))
            losses.append(_learn_epoch(course, teachers, seen))
            _save_progress(progress, settings, course, losses)
            yield losses[-1]
    with atomic_path(out) as part:
        save_file({k: v.contiguous().cpu() for k, v in student.net.features.state_dict().items()}, part)
    progress.unlink()


def _as_published(config: TrainConfig) -> TrainConfig:
    """The settings with the preprocessing that the network was published for."""
    published = SIGNATURES[config.model].input_size
    return replace(config, input_size=published, alignment=None, double_scaling=False)


@dataclass(frozen=True)
class _Course:
    """What learns, and what it learns by."""

    fabric: Fabric
    to_maps: nn.Module  # the student before its pooling
    lessons: nn.ModuleList
    optimizer: torch.optim.Optimizer
    rate: torch.optim.lr_scheduler.LRScheduler

    def states(self) -> dict[str, Any]:
        """The parts that change, by name."""
        return {name: getattr(self, name) for name in ("to_maps", "lessons", "optimizer", "rate")}


def _create_course(student: Classifier, lessons: nn.ModuleList, config: TrainConfig, steps: int) -> _Course:
    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    lessons = lessons.to(fabric.device)
    faster = math.sqrt(config.batch_size / LR_BATCH)
    groups = [{"params": list(student.net.features.parameters()), "lr": LR * faster}]
    if own := list(lessons.parameters()):
        groups.append({"params": own, "lr": LESSON_LR * faster})
    optimizer = torch.optim.Adam(groups, fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, steps, pct_start=WARM_UP, cycle_momentum=False
    )
    to_maps, optimizer = fabric.setup(Stretch(student, 0, len(student.net.stages) - 1).train(), optimizer)
    return _Course(fabric, to_maps, lessons, optimizer, rate)


def _learn_epoch(
    course: _Course, teachers: list[Teacher], seen: Iterable[tuple[Mixture, tuple[Pixels, Moves]]]
) -> float:
    """The mean loss of the faces in every batch seen, of which views and moves are given."""
    total, n = 0.0, 0
    for faces, view in seen:
        pixels, moves = map(torch.from_numpy, view)
        wanted = [teacher.answer(faces, course.fabric.device) for teacher in teachers]
        total += _learn(course, pixels, moves, wanted) * len(pixels)
        n += len(pixels)
    return total / n


def _learn(course: _Course, pixels: Tensor, moves: Tensor, wanted: list[Tensor]) -> float:
    """The loss of one step."""
    device = course.fabric.device
    maps: Tensor = course.to_maps(pixels.to(device)).float()
    moves = moves.to(device)
    taught = zip(course.lessons, wanted, strict=True)
    loss = torch.stack([lesson(maps, answer, moves) for lesson, answer in taught]).sum()
    course.optimizer.zero_grad()
    course.fabric.backward(loss)
    course.optimizer.step()
    course.rate.step()
    return loss.item()


def _save_progress(path: Path, settings: dict[str, Any], course: _Course, losses: list[float]) -> None:
    states = {name: part.state_dict() for name, part in course.states().items()}
    with atomic_path(path) as part:
        torch.save({"settings": settings, "losses": losses, **states}, part)


def _load_progress(path: Path, settings: dict[str, Any], course: _Course) -> list[float]:
    """Losses of the epochs done before, which the course goes on from; raises ConfigError."""
    if not path.exists():
        return []
    held = torch.load(path, map_location="cpu", weights_only=True)
    if held["settings"] != settings:
        raise ConfigError(
            f"{path} holds the progress of other settings.",
            hint="Go on with those, give another --out, or remove it.",
        )
    for name, part in course.states().items():
        part.load_state_dict(held[name])
    losses: list[float] = held["losses"]
    return losses
