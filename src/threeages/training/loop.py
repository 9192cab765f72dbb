"""The training loop: one readable page on Lightning Fabric, one state, no callbacks."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.seed import seed_everything
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel

from threeages.csvfiles import write_rows
from threeages.data.split import Rows, Split
from threeages.errors import ThreeAgesError
from threeages.models.heads import MAIN
from threeages.training.batches import (
    TrainingData,
    compute_outputs,
    frozen_stages,
    open_source,
    read_batch,
    sample_copies,
    split_rows,
)
from threeages.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.training.checks import normalizes_batches
from threeages.training.config import Phase, TrainConfig
from threeages.training.frozen import FeatureSource
from threeages.training.optimizer import (
    choose_memory_format,
    choose_precision,
    create_ema,
    create_optimizer,
    set_lr,
)
from threeages.training.tasks import ClassificationTask, select_targets
from threeages.training.temperature import fit_temperature

Epoch = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What a phase changes: a checkpoint holds all of it, so that a stopped training resumes."""

    task: ClassificationTask
    history: list[Epoch]  # of earlier phases too
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None

    def evaluated(self) -> ClassificationTask:
        """The task with the weights that are evaluated and kept: their moving average where there is one."""
        return self.task if self.ema is None else cast(ClassificationTask, self.ema.module)


def fit_model(
    task: ClassificationTask,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    log: Callable[[Epoch], None] | None = None,
) -> ClassificationTask:
    """Train through every phase; return the task with the model of the epoch that the settings keep.

    That is the epoch with the best accuracy on `split.validation`, or with `keep_last` the last one; its
    model is `best.ckpt`. `log` is given the metrics of every epoch.
    """
    for epoch in train_epochs(task, data, split, config, run):
        if log:
            log(epoch)
    model, saved = load_checkpoint(run / BEST)
    task.model.load_state_dict(model.state_dict())
    task.load_state_dict(saved["task"], strict=False)
    # of a random split the validation rows are the test rows, which must not set the temperature
    if config.calibrate and config.split in ("identity", "source"):
        fabric = Fabric(accelerator="auto", devices=1)
        source = open_source(task.model, data, config.phases()[-1], config)
        outputs = compute_outputs(fabric, task.to(fabric.device), source, split.validation)
        fit_temperature(task.model.cpu(), outputs[MAIN], data.targets[MAIN][split.validation])
        save_checkpoint(run / BEST, task.model, **saved)
    return task


def train_epochs(
    task: ClassificationTask, data: TrainingData, split: Split, config: TrainConfig, run: Path
) -> Iterator[Epoch]:
    """Train on `split.train`, yielding the metrics of each epoch; the caller may stop after any.

    Writes `last.ckpt`, `best.ckpt` and `metrics.csv` into `run` after every epoch, and resumes from
    `last.ckpt` where there is one. A loss that is not finite raises ThreeAgesError with its step.
    """
    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    # Resume order: seed, saved weights, history, phase, new optimizer, its saved state, next epoch.
    seed_everything(config.seed, verbose=False)
    saved = _load(run / LAST, task)
    history: list[Epoch] = list(saved.get("history", []))
    while (phase := next_phase(config, history)) is not None:
        steps, state = _start_phase(fabric, task, history, data, config, phase)
        if saved and history[-1]["phase"] == phase.name:
            state.optimizer.load_state_dict(saved["optimizer"])
            if state.ema:
                state.ema.load_state_dict(saved["ema"])
        saved = {}
        while next_phase(config, history) == phase:
            with _threads(1 if phase.unfreeze == 0 else torch.get_num_threads()):
                row = _train_epoch(steps, state, split.train)
            row |= _validate(steps, state, split.validation)
            best = config.keep_last or is_best(row, history)
            history.append(row)
            _save(run, state, config, best)
            logger.info("%s", _format(row))
            yield row


def next_phase(config: TrainConfig, history: list[Epoch]) -> Phase | None:
    """The first phase that has epochs left and has not run out of patience; None when all are done."""
    for phase in config.phases():
        scores = [row.get("val_accuracy", 0.0) for row in history if row["phase"] == phase.name]
        waited = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        impatient = config.patience is not None and waited >= config.patience
        if len(scores) < phase.epochs and not impatient:
            return phase
    return None


def is_best(row: Epoch, history: list[Epoch]) -> bool:
    """Whether no epoch before did better on the validation rows; True without such rows.

    The loss decides between epochs of one accuracy.
    """
    score = _score(row)
    return all(score > _score(past) for past in history)


def _score(row: Epoch) -> tuple[float, float]:
    """What the best epoch has most of: accuracy, then the negative loss; without either the latest."""
    if "val_accuracy" not in row:
        return 0.0, row["epoch"]
    return row["val_accuracy"], -row["val_loss"]


@dataclass(frozen=True)
class _Steps:
    """What the steps of one phase share and do not change."""

    fabric: Fabric
    net: nn.Module  # the task as the engine wraps it
    source: FeatureSource
    data: TrainingData
    config: TrainConfig
    phase: Phase


def _start_phase(
    fabric: Fabric,
    task: ClassificationTask,
    history: list[Epoch],
    data: TrainingData,
    config: TrainConfig,
    phase: Phase,
) -> tuple[_Steps, State]:
    source = open_source(task.model, data, phase, config)
    task.model.net.freeze(frozen_stages(task.model, phase))
    memory_format = choose_memory_format(source.depth, choose_precision(config.precision))
    task.to(memory_format=memory_format)  # type: ignore[call-overload]
    net, optimizer = fabric.setup(task, create_optimizer(task, phase, config.optimizer))
    state = State(task, history, optimizer, create_ema(task, phase, config.ema))
    return _Steps(fabric, net, source, data, config, phase), state


def _train_epoch(steps: _Steps, state: State, rows: Rows) -> Epoch:
    steps.net.train()
    config, phase = steps.config, steps.phase
    epoch = len(state.history)
    done = sum(row["phase"] == phase.name for row in state.history)
    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(int(rng.integers(2**31)))  # dropout is the same whether resumed or not
    total, correct = 0.0, 0
    with _create_bar(f"{phase.name} {epoch + 1}", len(rows)) as bar:
        for step, batch in enumerate(_split_batches(rng.permutation(rows), config.batch_size, state.task)):
            set_lr(state.optimizer, config.lr_decay ** (done + step * config.batch_size / len(rows)))
            loss, hits = _train_step(steps, state, batch, rng)
            if not np.isfinite(loss):
                raise ThreeAgesError(
                    f"The loss became {loss} at step {step + 1} of epoch {epoch + 1}.",
                    hint="The file last.ckpt holds the epoch before. Lower --lr. Or use --precision 32-true.",
                )
            total += loss * len(batch)
            correct += hits
            task = bar.tasks[0]
            bar.update(task.id, advance=len(batch), loss=loss, speed=task.speed or 0.0)
    seconds = bar.tasks[0].elapsed or 1e-9
    return {
        "epoch": epoch + 1,
        "phase": phase.name,
        "train_loss": total / len(rows),
        "train_accuracy": correct / max(int((steps.data.targets[MAIN][rows] >= 0).sum()), 1),
        "images_per_second": len(rows) / seconds,
        "seconds": seconds,
    }


def _split_batches(rows: Rows, size: int, task: ClassificationTask) -> Iterator[Rows]:
    """The rows in batches; one row alone joins the batch before where the network normalizes over batches."""
    if len(rows) % size == 1 and len(rows) > size and normalizes_batches(task.model):
        yield from split_rows(rows[: -size - 1], size)
        yield rows[-size - 1 :]
    else:
        yield from split_rows(rows, size)


def _train_step(steps: _Steps, state: State, batch: Rows, rng: np.random.Generator) -> tuple[float, int]:
    """(loss, correct answers) of one batch; the weights change only where the loss is finite."""
    config = steps.config
    targets = select_targets(steps.data.targets, batch, steps.fabric.device)
    mirror = rng.random(len(batch)) < 0.5 if config.flip else None
    copies = sample_copies(batch, len(steps.data.targets[MAIN]), config.augmented_copies, rng)
    outputs = steps.net(*read_batch(steps.fabric, steps.source, copies, mirror))
    loss = state.task.loss(outputs, targets)
    if torch.isfinite(loss):
        state.optimizer.zero_grad()
        steps.fabric.backward(loss)
        state.optimizer.step()
        if state.ema:
            state.ema.update_parameters(state.task)
    return loss.item(), state.task.count_correct(outputs, targets)


def _validate(steps: _Steps, state: State, rows: Rows) -> Epoch:
    """The metrics of the validation rows as `val_...`; none without such rows."""
    if not len(rows):
        return {}
    net = steps.net if state.ema is None else state.ema.module
    outputs = compute_outputs(steps.fabric, net, steps.source, rows)
    found = state.evaluated().metrics(outputs, select_targets(steps.data.targets, rows))
    return {f"val_{name}": value for name, value in found.items()}


def _save(run: Path, state: State, config: TrainConfig, best: bool) -> None:
    shared = {"history": state.history, "config": config.to_dict()}
    if best:
        kept = state.evaluated()
        save_checkpoint(run / BEST, kept.model, task=kept.own_state(), **shared)
    ema = {} if state.ema is None else {"ema": state.ema.state_dict()}
    save_checkpoint(
        run / LAST,
        state.task.model,
        task=state.task.own_state(),
        optimizer=state.optimizer.state_dict(),
        **ema,
        **shared,
    )
    write_rows(run / "metrics.csv", state.history)


def _load(path: Path, task: ClassificationTask) -> Mapping[str, Any]:
    """Fill the weights from `last.ckpt`; the state beside them, empty where there is no such file."""
    if not path.exists():
        return {}
    model, saved = load_checkpoint(path)
    task.model.load_state_dict(model.state_dict())
    task.load_state_dict(saved["task"], strict=False)
    return saved


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """A head alone is too small to share: 10,000 images/s on one thread, 300 on two of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _format(row: Epoch) -> str:
    return "  ".join(f"{k} {v if isinstance(v, str) else f'{v:.4g}'}" for k, v in row.items())


def _create_bar(description: str, total: int) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.0f} images/s, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task(description, total=total, loss=0.0, speed=0.0)
    return bar
