"""The training loop: one readable page on Lightning Fabric, one state, no callbacks."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.seed import seed_everything
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from threeages.data.split import Rows, Split
from threeages.data.stored import FEATURES_FOLDER
from threeages.errors import ConfigError, ThreeAgesError
from threeages.files import atomic_path
from threeages.labels import UNKNOWN
from threeages.models.classifier import Classifier
from threeages.models.heads import MAIN
from threeages.training.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from threeages.training.config import ALL, Phase, TrainConfig
from threeages.training.frozen import Inputs, has_bfloat16, open_activations
from threeages.training.losses import Targets, joint_loss, judge_tasks
from threeages.training.malloc import keep_freed_memory
from threeages.training.temperature import calibrate

EVAL_BATCH = 128
Epoch = dict[str, Any]


@dataclass(frozen=True)
class TrainingData:
    """Images as uint8 `(views * n, size, size, 3)`, a `key` that names them, targets `(n,)` by task."""

    pixels: NDArray[np.uint8]
    targets: Targets
    key: bytes
    folder: Path = field(default=FEATURES_FOLDER)


def fit(
    model: Classifier,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    log: Callable[[Epoch], None] | None = None,
) -> Classifier:
    """Train through every phase; return the model of the epoch with the best accuracy on `split.validation`.

    With `keep_last` it is that of the last epoch. It is `best.ckpt` in the end. `log` is given the figures
    of every epoch.
    """
    for epoch in train_epochs(model, data, split, config, run):
        if log:
            log(epoch)
    model, state = load_checkpoint(run / BEST)
    if config.calibrate and config.split == "identity":  # in a random split the select rows are judged too
        inputs = open_inputs(model, data, config.phases()[-1], config)
        fabric = Fabric(accelerator="auto", devices=1)
        logits = compute_logits(fabric, model.to(fabric.device), inputs, split.validation)
        model = calibrate(model.cpu(), logits[MAIN], data.targets[MAIN][split.validation])
        save_checkpoint(run / BEST, model, history=state["history"], config=state["config"])
    return model


def train_epochs(
    model: Classifier, data: TrainingData, split: Split, config: TrainConfig, run: Path
) -> Iterator[Epoch]:
    """Train on `split.train`, yielding the figures of each epoch; whoever iterates may stop.

    Writes `last.ckpt`, `best.ckpt` and `metrics.csv` into `run` after every epoch, and goes on from
    `last.ckpt` where there is one. A loss that is not finite raises ThreeAgesError with its step.
    """
    keep_freed_memory()
    fabric = Fabric(accelerator="auto", devices=1, precision=choose_precision(config.precision))
    # Resume order: seed, fresh model, saved weights, phase, optimizer, its saved state, next epoch.
    seed_everything(config.seed, verbose=False)
    history: list[Epoch] = []
    saved: dict[str, Any] = {}
    if (run / LAST).exists():
        model, saved = load_checkpoint(run / LAST)
        history = [{"phase": config.phases()[0].name, **row} for row in saved["history"]]
    while (phase := next_phase(config, history)) is not None:
        inputs = open_inputs(model, data, phase, config)
        model.net.freeze(frozen_stages(model, phase))
        # Late in a network the maps are small: 160 images/s against 110 with channels last, in float32 on one
        # thread. In bf16 it is the other way round: 349 against 290 on two.
        small = inputs.depth and choose_precision(config.precision) == "32-true"
        layout = torch.contiguous_format if small else torch.channels_last
        model.to(memory_format=layout)  # type: ignore[call-overload]
        net, optimizer = fabric.setup(model, create_optimizer(model, phase, config))
        average = create_average(model, phase, config)
        if saved and history[-1]["phase"] == phase.name:
            optimizer.load_state_dict(saved["optimizer"])
            if average:
                average.load_state_dict(saved["average"])
        saved = {}
        loop = _Loop(fabric, model, net, optimizer, average, inputs, data, config, phase)
        judged = cast(Classifier, average.module) if average else model
        shown = judged if average else net
        while next_phase(config, history) == phase:
            with _threads(1 if phase.unfreeze == 0 else torch.get_num_threads()):
                row = _train_epoch(loop, split.train, history)
            if len(split.validation):
                row |= judge(
                    judged, compute_logits(fabric, shown, inputs, split.validation), data, split.validation
                )
            best = config.keep_last or all(
                row.get("val_accuracy", 1) > past.get("val_accuracy", 0) for past in history
            )
            history.append(row)
            state = {"history": history, "config": config.to_dict()}
            if best:
                save_checkpoint(run / BEST, judged, **state)
            state |= {"average": average.state_dict()} if average else {}
            save_checkpoint(run / LAST, model, optimizer=optimizer.state_dict(), **state)
            write_history(history, run / "metrics.csv")
            fabric.print("  ".join(f"{k} {v if isinstance(v, str) else f'{v:.4g}'}" for k, v in row.items()))
            yield row


def next_phase(config: TrainConfig, history: list[Epoch]) -> Phase | None:
    """The first phase that has epochs left and has not run out of patience; None when all is done."""
    for phase in config.phases():
        scores = [row.get("val_accuracy", 0.0) for row in history if row["phase"] == phase.name]
        waited = len(scores) - 1 - scores.index(max(scores)) if scores else 0
        if len(scores) < phase.epochs and not (config.patience and waited >= config.patience):
            return phase
    return None


def frozen_stages(model: Classifier, phase: Phase) -> int:
    """How many stages the phase holds: all with the pooling where `unfreeze` is 0, none where it is -1."""
    blocks = len(model.net.stages) - 1
    if phase.unfreeze > blocks:
        raise ConfigError(
            f"unfreeze is {phase.unfreeze}; {model.signature.name} has {blocks} blocks.", hint="Give fewer."
        )
    return {ALL: 0, 0: blocks + 1}.get(phase.unfreeze, blocks - phase.unfreeze)


def open_inputs(model: Classifier, data: TrainingData, phase: Phase, config: TrainConfig) -> Inputs:
    """The frozen stages' activations where nothing before them changes from epoch to epoch, else pixels.

    Those of a later phase, which freezes fewer stages, come first: the rest is computed from them.
    """
    inputs = Inputs(data.pixels)
    if config.flip or not config.prefix_cache:
        return inputs
    for depth in sorted({frozen_stages(model, p) for p in (phase, config.phases()[-1])} - {0}):
        if depth <= frozen_stages(model, phase):
            inputs = open_activations(model, inputs, data.key, depth, data.folder, config.max_cache_gb)
    return inputs


def create_optimizer(model: Classifier, phase: Phase, config: TrainConfig) -> torch.optim.Optimizer:
    """An optimizer over what the phase trains; each group keeps the rate it starts from as `first_lr`."""
    net = model.net
    parts = {phase.lr: net.features, phase.neck_lr: nn.ModuleList([net.neck, *net.heads.values()])}
    if phase.lr == phase.neck_lr:
        parts = {phase.lr: net}
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "lr": lr, "first_lr": lr}
        for lr, part in parts.items()
    ]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=0.9, eps=1e-7)  # alpha, eps as in Keras
    # fused Adam: 66 images/s against 53 at batch 32 on 2 AVX2 cores; eps as in Keras
    return torch.optim.Adam(groups, eps=1e-7, fused=True)


def create_average(model: Classifier, phase: Phase, config: TrainConfig) -> AveragedModel | None:
    """The moving average of a phase's weights, where the settings ask for it and more than a head trains."""
    if not config.average or phase.unfreeze == 0:
        return None
    decay = get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=decay, use_buffers=True)


def compute_logits(fabric: Fabric, net: nn.Module, inputs: Inputs, rows: Rows) -> dict[str, Tensor]:
    """Float32 logits of the rows by task."""
    net.eval()
    with torch.inference_mode():
        parts = [net(*_arguments(fabric, inputs, batch)) for batch in batches(rows, EVAL_BATCH)]
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}


def choose_precision(wanted: str) -> Any:
    """bf16 where the processor computes in it (CUDA, AVX-512 BF16, AMX), else float32.

    Without such instructions bf16 is emulated: 7 images/s against 62 on 2 AVX2 cores.
    """
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if has_bfloat16() else "32-true"


def write_history(history: list[Epoch], path: Path) -> None:
    """One csv row an epoch."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def judge(model: Classifier, logits: dict[str, Tensor], data: TrainingData, rows: Rows) -> Epoch:
    """Loss and accuracy of the age group, and the figure of every further task, as `val_...`."""
    targets = {name: torch.from_numpy(values[rows]) for name, values in data.targets.items()}
    head, known = model.net.head, targets[MAIN] != UNKNOWN
    found = {
        "loss": float(head.loss(logits[MAIN][known], targets[MAIN][known])),
        "accuracy": head.metric(logits[MAIN][known], targets[MAIN][known])[1],
        **judge_tasks(model.net.heads, logits, targets),
    }
    return {f"val_{name}": value for name, value in found.items()}


@dataclass(frozen=True)
class _Loop:
    """What the epochs of one phase share."""

    fabric: Fabric
    model: Classifier
    net: nn.Module  # the model as the engine wraps it
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    inputs: Inputs
    data: TrainingData
    config: TrainConfig
    phase: Phase


def _train_epoch(loop: _Loop, rows: Rows, history: list[Epoch]) -> Epoch:
    loop.net.train()
    epoch, size = len(history), loop.config.batch_size
    before = sum(row["phase"] == loop.phase.name for row in history)
    rng = np.random.default_rng((loop.config.seed, epoch))
    torch.manual_seed(int(rng.integers(2**31)))  # dropout draws the same whether resumed or not
    losses, correct = [], 0
    with _progress(f"{loop.phase.name} {epoch + 1}", len(rows)) as bar:
        for step, batch in enumerate(batches(rng.permutation(rows), size)):
            _set_lr(loop, before + step * size / len(rows))
            loss, hits = _train_step(loop, batch, rng)
            if not np.isfinite(loss):
                raise ThreeAgesError(
                    f"The loss became {loss} at step {step + 1} of epoch {epoch + 1}.",
                    hint="Lower --lr, or use --precision 32-true; last.ckpt holds the epoch before.",
                )
            losses.append(loss * len(batch))
            correct += hits
            task = bar.tasks[0]
            bar.update(task.id, advance=len(batch), loss=loss, speed=task.speed or 0.0)
    seconds = bar.tasks[0].elapsed or 1e-9
    return {
        "epoch": epoch + 1,
        "phase": loop.phase.name,
        "train_loss": sum(losses) / len(rows),
        "train_accuracy": correct / max(int((loop.data.targets[MAIN][rows] >= 0).sum()), 1),
        "images_per_second": len(rows) / seconds,
        "seconds": seconds,
    }


def _train_step(loop: _Loop, batch: Rows, rng: np.random.Generator) -> tuple[float, int]:
    """(loss, hits) of one batch; the weights move only where the loss is finite."""
    targets = {
        name: torch.from_numpy(values[batch]).to(loop.fabric.device)
        for name, values in loop.data.targets.items()
    }
    mirror = rng.random(len(batch)) < 0.5 if loop.config.flip else None
    views = draw_views(batch, len(loop.data.targets[MAIN]), loop.config.views, rng)
    logits = loop.net(*_arguments(loop.fabric, loop.inputs, views, mirror))
    loss = joint_loss(loop.model.net.heads, logits, targets, loop.config.tasks)
    if torch.isfinite(loss):
        loop.optimizer.zero_grad()
        loop.fabric.backward(loss)
        loop.optimizer.step()
        if loop.average:
            loop.average.update_parameters(loop.model)
    answer = loop.model.net.head.probs(logits[MAIN].detach().float()).argmax(1)
    return loss.item(), int((answer == targets[MAIN]).sum())


def draw_views(batch: Rows, rows: int, views: int, rng: np.random.Generator) -> Rows:
    """Where inputs of `rows` images in so many views hold one of each image of the batch, drawn evenly."""
    if views == 1:
        return batch
    return batch + rows * rng.integers(views, size=len(batch))


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """A head alone is too small to share: 10,000 images/s on one thread, 300 on two of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _set_lr(loop: _Loop, epochs: float) -> None:
    for group in loop.optimizer.param_groups:
        group["lr"] = group["first_lr"] * loop.config.lr_decay**epochs


def _arguments(
    fabric: Fabric, inputs: Inputs, batch: Rows, mirror: NDArray[np.bool_] | None = None
) -> tuple[Tensor, int]:
    """What the model takes for a batch: pixels or activations, and the stage they enter."""
    values = inputs.values[batch]
    if mirror is not None:
        values[mirror] = values[mirror, :, ::-1]
    x = torch.from_numpy(values).to(fabric.device)
    return (x.float() if inputs.depth else x), inputs.depth


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in parts of `size`; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _progress(description: str, total: int) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.0f} images/s, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns)
    bar.add_task(description, total=total, loss=0.0, speed=0.0)
    return bar
