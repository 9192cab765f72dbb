"""The training loop: one readable page on Lightning Fabric, one state, no callbacks."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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

from threeages.data.split import Rows, Split
from threeages.errors import ModelError, ThreeAgesError, describe_cause
from threeages.models.heads import MAIN
from threeages.training.autosave import SaveTimer, capture_random, restore_random
from threeages.training.batches import (
    TrainingData,
    compute_outputs,
    frozen_stages,
    open_source,
    read_batch,
    sample_copies,
    split_rows,
)
from threeages.training.checkpoint import LAST, describe_model
from threeages.training.checks import normalizes_batches
from threeages.training.config import Phase, TrainConfig
from threeages.training.frozen import FeatureSource
from threeages.training.memory import explain_memory
from threeages.training.optimizer import (
    choose_memory_format,
    choose_precision,
    create_ema,
    create_optimizer,
    set_lr,
)
from threeages.training.run_folder import (
    START_OVER,
    copy_best,
    load_best,
    read_run,
    write_derived,
    write_run,
)
from threeages.training.state_file import Content
from threeages.training.tasks import ClassificationTask, select_targets
from threeages.training.temperature import fit_temperature

Epoch = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass
class EpochSums:
    """What an epoch has added up over its steps so far, and the random states behind the last of them."""

    step: int = 0  # how many are done
    images: int = 0
    seconds: float = 0.0
    correct: int = 0
    loss: dict[str, float] = field(default_factory=dict)  # by name, times the rows that it is a mean of
    known: dict[str, int] = field(default_factory=dict)  # those rows
    random: dict[str, Any] = field(default_factory=dict)


@dataclass
class State:
    """What training changes: a checkpoint holds all of it, so that a stopped training resumes."""

    task: ClassificationTask
    phase: Phase
    history: list[Epoch]  # of earlier phases too
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    best: Content | None = None  # the model of the epoch that is kept so far
    sums: EpochSums = field(default_factory=EpochSums)  # of the epoch that is at work

    def evaluated(self) -> ClassificationTask:
        """The task with the weights that are evaluated and kept: their moving average where there is one."""
        return self.task if self.ema is None else cast(ClassificationTask, self.ema.module)

    def content(self) -> Content:
        """Everything as a checkpoint holds it, but for what no step changes."""
        return {
            **describe_model(self.task.model),
            "task": self.task.own_state(),
            "phase": self.phase.name,
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "within": asdict(self.sums) if self.sums.step else None,
            "history": self.history,
            "best": self.best,
            "temperature": None,
        }


def fit_model(
    task: ClassificationTask,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    log: Callable[[Epoch], None] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> ClassificationTask:
    """Train through every phase; return the task with the model of the epoch that the settings keep.

    That is the epoch with the best accuracy on `split.validation`, or with `keep_last` the last one; its
    model is `best.ckpt`. `log` is given the metrics of every epoch. `notes` are those of `train_epochs`.
    """
    for epoch in train_epochs(task, data, split, config, run, notes):
        if log:
            log(epoch)
    content = _read_state(run)
    # of a random split the validation rows are the test rows, which must not set the temperature
    held_out = config.split in ("identity", "source")
    if config.calibrate and held_out and content["temperature"] is None:
        load_best(task, content)
        content["temperature"] = _fit_temperature(task, data, split, config)
        write_run(run, content)
    write_derived(run, content)
    load_best(task, content)
    return task


def _fit_temperature(
    task: ClassificationTask, data: TrainingData, split: Split, config: TrainConfig
) -> float:
    fabric = Fabric(accelerator="auto", devices=1)
    source = open_source(task.model, data, config.phases()[-1], config)
    outputs = compute_outputs(fabric, task.to(fabric.device), source, split.validation)
    labels = data.targets[MAIN][split.validation]
    return fit_temperature(task.model.cpu(), outputs[MAIN], labels).signature.temperature


def train_epochs(
    task: ClassificationTask,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    notes: Mapping[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train on `split.train`, yielding the metrics of each epoch; the caller may stop after any.

    The state is `last.ckpt` in the folder `run`, written after every epoch and once a minute within one
    (training.autosave); from it resumes what was stopped anywhere, to the same weights. After it come
    `best.ckpt`, `metrics.csv` and `config.json`, which hold nothing that it lacks. `notes` go into it:
    digests of the `data`, and what is said of the `split`. A loss that is not finite raises ThreeAgesError
    with its step.
    """
    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    # Resume order: seed, saved weights, history, phase, new optimizer, its saved state, sums of the epoch,
    # then in the epoch: its order of rows, random states, next step.
    seed_everything(config.seed, verbose=False)
    saved = _load(run, task)
    history: list[Epoch] = list(saved.get("history", []))
    best: Content | None = saved.get("best")
    saver = _Saver(run, config, {"data": {}, "split": {}, **(notes or {})})
    while (phase := next_phase(config, history)) is not None:
        steps, state = _start_phase(fabric, task, history, data, config, phase)
        state.best = best
        if saved.get("phase") == phase.name:
            _restore(state, saved)
        saved = {}
        while next_phase(config, history) == phase:
            with explain_memory(config.batch_size, config.input_size):
                row = _run_epoch(steps, state, split, saver)
            if config.keep_last or is_best(row, history):
                best = state.best = copy_best(state.evaluated(), row["epoch"])
            history.append(row)
            saver.after_epoch(state, is_last=next_phase(config, history) is None)
            logger.info("%s", _format(row))
            yield row


class _Saver:
    """Writes the state into a run's folder when it is time to."""

    def __init__(self, run: Path, config: TrainConfig, notes: Mapping[str, Any]) -> None:
        self.run = run
        self.shared = {"config": config.to_dict(), **notes}
        self.timer = SaveTimer()

    def after_step(self, state: State, rng: np.random.Generator) -> None:
        """Save where a minute of work would be lost; the next step draws from `rng`."""
        if self.timer.is_due():
            state.sums.random = capture_random(rng)
            self._save(state)

    def after_epoch(self, state: State, *, is_last: bool) -> None:
        """Save unless that takes most of the time; then come the files that are written from it."""
        if is_last or self.timer.is_affordable():
            self._save(state)
            write_derived(self.run, state.content() | self.shared)

    def _save(self, state: State) -> None:
        with self.timer.save():
            write_run(self.run, state.content() | self.shared)


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
    state = State(task, phase, history, optimizer, create_ema(task, phase, config.ema))
    return _Steps(fabric, net, source, data, config, phase), state


def _run_epoch(steps: _Steps, state: State, split: Split, saver: _Saver) -> Epoch:
    """The metrics of one epoch; of one that was stopped within the rest is run."""
    with _threads(1 if steps.phase.unfreeze == 0 else torch.get_num_threads()):
        row = _train_epoch(steps, state, split.train, saver)
    row |= _validate(steps, state, split.validation)
    state.sums = EpochSums()
    return row


def _train_epoch(steps: _Steps, state: State, rows: Rows, saver: _Saver) -> Epoch:
    steps.net.train()
    config, phase, sums = steps.config, steps.phase, state.sums
    epoch = len(state.history)
    done = sum(row["phase"] == phase.name for row in state.history)
    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(int(rng.integers(2**31)))  # dropout is the same whether resumed or not
    batches = list(_split_batches(rng.permutation(rows), config.batch_size, state.task))
    if sums.step:
        restore_random(sums.random, rng)
    start = time.monotonic() - sums.seconds
    with _create_bar(f"{phase.name} {epoch + 1}", len(rows), sums.images) as bar:
        for step, batch in enumerate(batches[sums.step :], start=sums.step):
            set_lr(state.optimizer, config.lr_decay ** (done + step * config.batch_size / len(rows)))
            loss = _train_step(steps, state, batch, rng)
            if not np.isfinite(loss):
                raise _loss_error(loss, step, epoch, phase, config)
            sums.step, sums.images = step + 1, sums.images + len(batch)
            sums.seconds = time.monotonic() - start
            saver.after_step(state, rng)
            task = bar.tasks[0]
            bar.update(task.id, advance=len(batch), loss=loss, speed=task.speed or 0.0)
    return {"epoch": epoch + 1, "phase": phase.name, **_summarize(sums, time.monotonic() - start)}


def _summarize(sums: EpochSums, seconds: float) -> Epoch:
    """The metrics of the train rows; a loss is the mean over the rows that have a label for it."""
    means = {name: sums.loss.get(name, 0.0) / n if n else np.nan for name, n in sums.known.items()}
    names = {name: "train_loss" if name == MAIN else f"train_{name}_loss" for name in means}
    return {
        **{names[name]: float(mean) for name, mean in means.items()},
        "train_accuracy": sums.correct / max(sums.known[MAIN], 1),
        "images_per_second": sums.images / max(seconds, 1e-9),
        "seconds": seconds,
    }


def _loss_error(loss: float, step: int, epoch: int, phase: Phase, config: TrainConfig) -> ThreeAgesError:
    option = "--head-lr" if phase.name == "head" else "--lr"
    other = "" if choose_precision(config.precision) == "32-true" else " Or use --precision 32-true."
    return ThreeAgesError(
        f"The loss became {loss} at step {step + 1} of epoch {epoch + 1}.",
        hint=f"Give a lower {option}.{other} Give another --out as well.",
    )


def _split_batches(rows: Rows, size: int, task: ClassificationTask) -> Iterator[Rows]:
    """The rows in batches; one row alone joins the batch before where the network normalizes over batches."""
    if len(rows) % size == 1 and len(rows) > size and normalizes_batches(task.model):
        yield from split_rows(rows[: -size - 1], size)
        yield rows[-size - 1 :]
    else:
        yield from split_rows(rows, size)


def _train_step(steps: _Steps, state: State, batch: Rows, rng: np.random.Generator) -> float:
    """The loss of one batch; the weights change only where it is finite and any row has a label."""
    config = steps.config
    targets = select_targets(steps.data.targets, batch, steps.fabric.device)
    mirror = rng.random(len(batch)) < 0.5 if config.flip else None
    copies = sample_copies(batch, len(steps.data.targets[MAIN]), config.augmented_copies, rng)
    outputs = steps.net(*read_batch(steps.fabric, steps.source, copies, mirror))
    losses = state.task.losses(outputs, targets)
    loss = state.task.total(losses)
    if torch.isfinite(loss) and loss.requires_grad:
        state.optimizer.zero_grad()
        steps.fabric.backward(loss)
        state.optimizer.step()
        if state.ema:
            state.ema.update_parameters(state.task)
    _add_up(state.sums, losses, state.task.count_known(targets))
    state.sums.correct += state.task.count_correct(outputs, targets)
    return loss.item()


def _add_up(sums: EpochSums, losses: Mapping[str, torch.Tensor], known: Mapping[str, int]) -> None:
    for name, n in known.items():
        sums.known[name] = sums.known.get(name, 0) + n
        if name in losses:
            sums.loss[name] = sums.loss.get(name, 0.0) + losses[name].item() * n


def _validate(steps: _Steps, state: State, rows: Rows) -> Epoch:
    """The metrics of the validation rows as `val_...`; none without such rows."""
    if not len(rows):
        return {}
    net = steps.net if state.ema is None else state.ema.module
    outputs = compute_outputs(steps.fabric, net, steps.source, rows)
    found = state.evaluated().metrics(outputs, select_targets(steps.data.targets, rows))
    return {f"val_{name}": value for name, value in found.items()}


def _read_state(run: Path) -> Content:
    content = read_run(run)
    if content is None:
        raise ModelError(f"{run / LAST} was removed while the training ran.", hint=START_OVER)
    return content


def _load(run: Path, task: ClassificationTask) -> Mapping[str, Any]:
    """Fill the weights from `last.ckpt`; what it holds, empty where there is no such file."""
    content = read_run(run)
    if content is None:
        return {}
    write_derived(run, content)
    try:
        task.model.load_state_dict(content["model"])
        task.load_state_dict(content["task"], strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"{run / LAST} is of another network: {describe_cause(error)}.", hint=START_OVER
        ) from error
    return content


def _restore(state: State, saved: Mapping[str, Any]) -> None:
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.ema:
        state.ema.load_state_dict(saved["ema"])
    if saved["within"]:
        state.sums = EpochSums(**saved["within"])


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


def _create_bar(description: str, total: int, completed: int) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.0f} images/s, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task(description, total=total, completed=completed, loss=0.0, speed=0.0)
    return bar
