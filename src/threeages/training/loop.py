"""The training loop: one readable page on Lightning Fabric, one state, no callbacks."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.seed import seed_everything
from torch import nn

from threeages.data.split import Rows, Split
from threeages.models.heads import MAIN
from threeages.training.autosave import restore_random
from threeages.training.batches import (
    TrainingData,
    compute_outputs,
    frozen_stages,
    keep_on_device,
    open_source,
    order_rows,
    read_batch,
    sample_copies,
    split_train_rows,
)
from threeages.training.compiling import compile_steps
from threeages.training.config import Phase, TrainConfig
from threeages.training.divergence import loss_error
from threeages.training.epochs import (
    Epoch,
    count_epochs,
    format_epoch,
    is_best,
    next_phase,
    summarize_train_rows,
)
from threeages.training.frozen import FeatureSource
from threeages.training.memory import explain_memory
from threeages.training.optimizer import (
    choose_memory_format,
    choose_precision,
    create_ema,
    create_optimizer,
    set_lr,
)
from threeages.training.progress_bar import show_progress
from threeages.training.ranks import Ranks
from threeages.training.run_folder import copy_best
from threeages.training.saving import Saver, load_saved
from threeages.training.state import EpochSums, State
from threeages.training.state_file import Content
from threeages.training.tasks import ClassificationTask, select_targets
from threeages.training.threads import limit_threads

logger = logging.getLogger(__name__)


def train_epochs(
    task: ClassificationTask,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    notes: Mapping[str, Any] | None = None,
    ranks: Ranks | None = None,
) -> Iterator[Epoch]:
    """Train on `split.train`, yielding the metrics of each epoch; the caller may stop after any.

    The state is `last.ckpt` in the folder `run`, written after every epoch and once a minute within one
    (training.autosave); from it resumes what was stopped anywhere, to the same weights. After it come
    `best.ckpt`, `metrics.csv` and `config.json`, which hold nothing that it lacks. `notes` go into it:
    digests of the `data`, and what is said of the `split`. A loss that is not finite raises ThreeAgesError
    with its step. With more processes, `ranks`, all yield the same, and the first writes.
    """
    ranks = ranks or Ranks()
    fabric = ranks.create_fabric(choose_precision(config.precision))
    ranks.share_batches(task)
    # Resume order: seed, saved weights, history, phase, new optimizer, its saved state, sums of the epoch,
    # then in the epoch: its order of rows, random states, next step.
    seed_everything(config.seed, verbose=False)
    saved = load_saved(run, task, ranks)
    history: list[Epoch] = list(saved.get("history", []))
    best: Content | None = saved.get("best")
    saver = Saver(run, config, notes, writes=ranks.is_main)
    while (phase := next_phase(config, history)) is not None:
        steps, state = _start_phase(ranks, fabric, task, history, best, data, split, config, phase)
        if saved.get("phase") == phase.name:
            state.restore(saved)
        saved = {}
        while next_phase(config, history) == phase:
            with explain_memory(config.batch_size, config.input_size):
                row = _run_epoch(steps, state, split, saver)
            if config.keep_last or is_best(row, history):
                best = state.best = copy_best(state.evaluated(), row["epoch"])
            history.append(row)
            saver.after_epoch(state, is_last=next_phase(config, history) is None)
            logger.info("%s", format_epoch(row))
            yield row
        del steps, state  # the next phase has the device's memory to itself


@dataclass(frozen=True)
class _Steps:
    """What the steps of one phase share and do not change."""

    ranks: Ranks
    fabric: Fabric
    net: nn.Module  # the task as the engine wraps it
    source: FeatureSource
    data: TrainingData
    config: TrainConfig
    phase: Phase


def _start_phase(
    ranks: Ranks,
    fabric: Fabric,
    task: ClassificationTask,
    history: list[Epoch],
    best: Content | None,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    phase: Phase,
) -> tuple[_Steps, State]:
    with ranks.in_turns():
        source = open_source(task.model, data, phase, config)
    task.model.net.freeze(frozen_stages(task.model, phase))
    precision = choose_precision(config.precision)
    memory_format = choose_memory_format(source.depth, precision, fabric.device)
    source = keep_on_device(source, data, split, config.augmented_copies, fabric.device)
    task.to(memory_format=memory_format)  # type: ignore[call-overload]
    if config.compile:
        compile_steps(task, phase, fabric.device)
    net, optimizer = fabric.setup(task, create_optimizer(task, phase, config.optimizer))
    state = State(task, phase, history, optimizer, create_ema(task, phase, config.ema), best)
    return _Steps(ranks, fabric, net, source, data, config, phase), state


def _run_epoch(steps: _Steps, state: State, split: Split, saver: Saver) -> Epoch:
    """The metrics of one epoch; of one that was stopped within the rest is run."""
    # a head alone is too small to share: 10,000 images/s on one thread, 300 on two of a busy machine
    with limit_threads(1 if steps.phase.unfreeze == 0 else torch.get_num_threads()):
        row = _train_epoch(steps, state, split.train, saver)
    row |= _validate(steps, state, split.validation)
    state.sums = EpochSums()
    return steps.ranks.broadcast(row)  # processors of two kinds may differ in a last digit


def _train_epoch(steps: _Steps, state: State, rows: Rows, saver: Saver) -> Epoch:
    steps.net.train()
    config, phase, sums = steps.config, steps.phase, state.sums
    epoch, done = len(state.history), count_epochs(phase, state.history)
    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(int(rng.integers(2**31)))  # dropout is the same whether resumed or not
    batches = list(split_train_rows(order_rows(steps.data, rows, rng), config.batch_size, state.task.model))
    if sums.step:
        restore_random(sums.random, rng)
    start = time.monotonic() - sums.seconds
    title = f"{phase.name} {epoch + 1}"
    with show_progress(title, len(rows), sums.images, shown=steps.ranks.is_main) as show:
        for step, batch in enumerate(batches[sums.step :], start=sums.step):
            set_lr(state.optimizer, config.lr_decay ** (done + step * config.batch_size / len(rows)))
            loss = _train_step(steps, state, batch, rng)
            if not np.isfinite(loss):
                raise loss_error(loss, step, epoch, _choose_hint(config, phase))
            sums.end_step(len(batch), time.monotonic() - start)
            saver.after_step(state, rng)
            show(len(batch), loss)
    seconds = time.monotonic() - start
    metrics = summarize_train_rows(sums.loss, sums.known, sums.correct, sums.images, seconds)
    return {"epoch": epoch + 1, "phase": phase.name, **metrics}


def _train_step(steps: _Steps, state: State, batch: Rows, rng: np.random.Generator) -> float:
    """The loss of one batch; the weights change only where it is finite and any row has a label.

    What is random is drawn for the whole batch, and of the network's work every process does its part.
    """
    config, ranks = steps.config, steps.ranks
    targets = select_targets(steps.data.targets, batch, steps.fabric.device)
    mirror = rng.random(len(batch)) < 0.5 if config.flip else None
    copies = sample_copies(batch, len(steps.data.targets[MAIN]), config.augmented_copies, rng)
    part = ranks.take(len(batch))
    mirror = None if mirror is None else mirror[part]
    outputs = steps.net(*read_batch(steps.fabric, steps.source, copies[part], mirror))
    outputs = ranks.gather(outputs, len(batch))
    losses = state.task.losses(outputs, targets)
    loss = state.task.total(losses)
    if torch.isfinite(loss) and loss.requires_grad:
        state.optimizer.zero_grad()
        idle = {name: values for name, values in outputs.items() if name not in losses}
        ranks.backward(steps.fabric, loss, idle, state.task.model.net.heads)
        state.optimizer.step()
        if state.ema:
            state.ema.update_parameters(state.task)
    state.sums.add(losses, state.task.count_known(targets), state.task.count_correct(outputs, targets))
    return loss.item()


def _choose_hint(config: TrainConfig, phase: Phase) -> str:
    """What to do where the loss is not finite."""
    option = "--head-lr" if phase.name == "head" else "--lr"
    other = "" if choose_precision(config.precision) == "32-true" else " Or use --precision 32-true."
    return f"Give a lower {option}.{other} Give another --out as well."


def _validate(steps: _Steps, state: State, rows: Rows) -> Epoch:
    """The metrics of the validation rows as `val_...`; none without such rows."""
    if not len(rows):
        return {}
    net = steps.net if state.ema is None else state.ema.module
    outputs = compute_outputs(steps.fabric, net, steps.source, rows, steps.ranks)
    found = state.evaluated().metrics(outputs, select_targets(steps.data.targets, rows))
    return {f"val_{name}": value for name, value in found.items()}
