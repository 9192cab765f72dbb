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
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from threeages.data.split import Rows, Split
from threeages.data.stored import FEATURES_FOLDER
from threeages.errors import ConfigError, ThreeAgesError
from threeages.files import write_rows
from threeages.models.classifier import Classifier
from threeages.models.heads import MAIN
from threeages.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.training.config import Phase, TrainConfig
from threeages.training.frozen import FeatureSource, has_bfloat16, open_features
from threeages.training.losses import Targets
from threeages.training.tasks import ClassificationTask, select_targets
from threeages.training.temperature import fit_temperature

EVAL_BATCH = 128
Epoch = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """uint8 `pixels` `(copies * n, size, size, 3)`, `targets` `(n, ...)` by name, a `key` of the images."""

    pixels: NDArray[np.uint8]
    targets: Targets
    key: bytes
    folder: Path = FEATURES_FOLDER


@dataclass
class State:
    """What training changes: a checkpoint holds all of it, so that a stopped training resumes."""

    task: ClassificationTask
    history: list[Epoch]
    optimizer: torch.optim.Optimizer | None = None
    ema: AveragedModel | None = None

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
    if config.calibrate and config.split == "identity":
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
    # Resume order: seed, new task, saved weights, phase, optimizer, its saved state, next epoch.
    seed_everything(config.seed, verbose=False)
    state = State(task, [])
    saved = _load(run / LAST, state)
    while (phase := next_phase(config, state.history)) is not None:
        steps = _start_phase(fabric, state, data, config, phase)
        if saved and state.history[-1]["phase"] == phase.name:
            _load_optimizer(state, saved)
        saved = {}
        while next_phase(config, state.history) == phase:
            with _threads(1 if phase.unfreeze == 0 else torch.get_num_threads()):
                row = _train_epoch(steps, state, split.train)
            row |= _validate(steps, state, split.validation)
            best = config.keep_last or is_best(row, state.history)
            state.history.append(row)
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
    """Whether no epoch before was as accurate on the validation rows; True without such rows."""
    return all(row.get("val_accuracy", 1) > past.get("val_accuracy", 0) for past in history)


def frozen_stages(model: Classifier, phase: Phase) -> int:
    """How many stages the phase freezes: with the pooling all of them where `unfreeze` is 0."""
    blocks = len(model.net.features)
    if phase.unfreeze is None:
        return 0
    if phase.unfreeze == 0:
        return blocks + 1
    if phase.unfreeze > blocks:
        raise ConfigError(
            f"unfreeze is {phase.unfreeze}; {model.signature.name} has {blocks} stages.", hint="Give fewer."
        )
    return blocks - phase.unfreeze


def open_source(model: Classifier, data: TrainingData, phase: Phase, config: TrainConfig) -> FeatureSource:
    """The frozen stages' features where nothing before them changes from epoch to epoch, else pixels.

    Those of a later phase, which freezes fewer stages, come first: the rest is computed from them.
    """
    source = FeatureSource(data.pixels)
    if config.flip or not config.frozen_cache:
        return source
    for depth in sorted({frozen_stages(model, p) for p in (phase, config.phases()[-1])} - {0}):
        if depth <= frozen_stages(model, phase):
            source = open_features(model, source, data.key, depth, data.folder, config.max_cache_gb)
    return source


def create_optimizer(task: ClassificationTask, phase: Phase, name: str) -> torch.optim.Optimizer:
    """An optimizer over what the phase trains; each group keeps the rate it starts from as `first_lr`."""
    rates: list[tuple[nn.Module, float]] = [
        (task.model.net.features, phase.lr),
        (nn.ModuleList(task.top()), phase.neck_lr),
    ]
    groups = []
    for module, lr in rates:
        params = [p for p in module.parameters() if p.requires_grad]
        if params:
            groups.append({"params": params, "lr": lr, "first_lr": lr})
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=0.9, eps=1e-7)  # alpha, eps as in Keras
    # fused Adam: 66 images/s against 53 at batch 32 on 2 AVX2 cores; eps as in Keras
    return torch.optim.Adam(groups, eps=1e-7, fused=True)


def create_ema(task: ClassificationTask, phase: Phase, decay: float | None) -> AveragedModel | None:
    """The moving average of the weights, where a decay is given and the phase trains more than heads."""
    if not decay or phase.unfreeze == 0:
        return None
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(task, multi_avg_fn=update, use_buffers=True)


def compute_outputs(fabric: Fabric, net: nn.Module, source: FeatureSource, rows: Rows) -> dict[str, Tensor]:
    """float32 outputs `(len(rows), ...)` by name, on the CPU."""
    net.eval()
    with torch.inference_mode():
        parts = [net(*_read_batch(fabric, source, batch)) for batch in batches(rows, EVAL_BATCH)]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}


def choose_precision(precision: str) -> Any:
    """The precision given; for `auto` bf16 where the device computes in it, else float32.

    Without such instructions bf16 is emulated, which is slower than float32.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if has_bfloat16() else "32-true"


def sample_copies(batch: Rows, num_images: int, copies: int, rng: np.random.Generator) -> Rows:
    """For each image of the batch the row of one of its copies, which stand behind one another."""
    if copies == 1:
        return batch
    return batch + num_images * rng.integers(copies, size=len(batch))


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in parts of `size`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


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
    fabric: Fabric, state: State, data: TrainingData, config: TrainConfig, phase: Phase
) -> _Steps:
    task = state.task
    source = open_source(task.model, data, phase, config)
    task.model.net.freeze(frozen_stages(task.model, phase))
    memory_format = _choose_memory_format(source.depth, choose_precision(config.precision))
    task.to(memory_format=memory_format)  # type: ignore[call-overload]
    net, optimizer = fabric.setup(task, create_optimizer(task, phase, config.optimizer))
    state.optimizer = optimizer
    state.ema = create_ema(task, phase, config.ema)
    return _Steps(fabric, net, source, data, config, phase)


def _choose_memory_format(depth: int, precision: str) -> torch.memory_format:
    # Late in a network the maps are small: 160 images/s against 110 with channels last, in float32 on one
    # thread. In bf16 it is the other way round: 349 against 290 on two.
    late = depth > 0
    if late and precision == "32-true":
        return torch.contiguous_format
    return torch.channels_last


def _train_epoch(steps: _Steps, state: State, rows: Rows) -> Epoch:
    steps.net.train()
    config, phase = steps.config, steps.phase
    epoch = len(state.history)
    done = sum(row["phase"] == phase.name for row in state.history)
    rng = np.random.default_rng((config.seed, epoch))
    torch.manual_seed(int(rng.integers(2**31)))  # dropout is the same whether resumed or not
    total, correct = 0.0, 0
    with _create_bar(f"{phase.name} {epoch + 1}", len(rows)) as bar:
        for step, batch in enumerate(batches(rng.permutation(rows), config.batch_size)):
            _set_lr(state, config.lr_decay ** (done + step * config.batch_size / len(rows)))
            loss, hits = _train_step(steps, state, batch, rng)
            if not np.isfinite(loss):
                raise ThreeAgesError(
                    f"The loss became {loss} at step {step + 1} of epoch {epoch + 1}.",
                    hint="Lower --lr, or use --precision 32-true; last.ckpt holds the epoch before.",
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


def _train_step(steps: _Steps, state: State, batch: Rows, rng: np.random.Generator) -> tuple[float, int]:
    """(loss, correct answers) of one batch; the weights change only where the loss is finite."""
    assert state.optimizer is not None
    config = steps.config
    targets = select_targets(steps.data.targets, batch, steps.fabric.device)
    mirror = rng.random(len(batch)) < 0.5 if config.flip else None
    copies = sample_copies(batch, len(steps.data.targets[MAIN]), config.augmented_copies, rng)
    outputs = steps.net(*_read_batch(steps.fabric, steps.source, copies, mirror))
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
    assert state.optimizer is not None
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


def _load(path: Path, state: State) -> Mapping[str, Any]:
    """Fill weights and history from `last.ckpt`; what else it holds, empty where there is no such file."""
    if not path.exists():
        return {}
    model, saved = load_checkpoint(path)
    state.task.model.load_state_dict(model.state_dict())
    state.task.load_state_dict(saved["task"], strict=False)
    state.history += saved["history"]
    return saved


def _load_optimizer(state: State, saved: Mapping[str, Any]) -> None:
    assert state.optimizer is not None
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.ema:
        state.ema.load_state_dict(saved["ema"])


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """A head alone is too small to share: 10,000 images/s on one thread, 300 on two of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _set_lr(state: State, factor: float) -> None:
    assert state.optimizer is not None
    for group in state.optimizer.param_groups:
        group["lr"] = group["first_lr"] * factor


def _read_batch(
    fabric: Fabric, source: FeatureSource, rows: Rows, mirror: NDArray[np.bool_] | None = None
) -> tuple[Tensor, int]:
    """What the task takes for a batch: pixels or features, and the stage they enter."""
    values = source.values[rows]
    if mirror is not None:
        values[mirror] = values[mirror, :, ::-1]
    x = torch.from_numpy(values).to(fabric.device)
    return (x.float() if source.depth else x), source.depth


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
