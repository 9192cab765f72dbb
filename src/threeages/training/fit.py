"""A training to its end: every epoch, then the temperature of the model that is kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from threeages.data.split import Split
from threeages.errors import ModelError
from threeages.models.heads import MAIN
from threeages.training.batches import TrainingData, compute_outputs, open_source
from threeages.training.checkpoint import LAST
from threeages.training.config import TrainConfig
from threeages.training.epochs import Epoch
from threeages.training.loop import train_epochs
from threeages.training.ranks import Ranks
from threeages.training.run_folder import START_OVER, load_best, read_run, write_derived, write_run
from threeages.training.state_file import Content
from threeages.training.tasks import ClassificationTask
from threeages.training.temperature import fit_temperature


def fit_model(
    task: ClassificationTask,
    data: TrainingData,
    split: Split,
    config: TrainConfig,
    run: Path,
    log: Callable[[Epoch], None] | None = None,
    notes: Mapping[str, Any] | None = None,
    ranks: Ranks | None = None,
) -> ClassificationTask:
    """Train through every phase; return the task with the model of the epoch that the settings keep.

    That is the epoch with the best accuracy on `split.validation`, or with `keep_last` the last one; its
    model is `best.ckpt`. `log` is given the metrics of every epoch. `notes` and `ranks` are those of
    `train_epochs`; the first process alone logs and writes.
    """
    ranks = ranks or Ranks()
    for epoch in train_epochs(task, data, split, config, run, notes, ranks):
        if log and ranks.is_main:
            log(epoch)
    content = ranks.broadcast(_read_state(run) if ranks.is_main else {})
    # of a random split the validation rows are the test rows, which must not set the temperature
    held_out = config.split in ("identity", "source")
    if config.calibrate and held_out and content["temperature"] is None:
        load_best(task, content)
        content["temperature"] = _fit_temperature(task, data, split, config, ranks)
        if ranks.is_main:
            write_run(run, content)
    if ranks.is_main:
        write_derived(run, content)
    load_best(task, content)
    return task


def _fit_temperature(
    task: ClassificationTask, data: TrainingData, split: Split, config: TrainConfig, ranks: Ranks
) -> float:
    fabric = ranks.create_fabric()
    source = open_source(task.model, data, config.phases()[-1], config)
    outputs = compute_outputs(fabric, task.to(fabric.device), source, split.validation, ranks)
    labels = data.targets[MAIN][split.validation]
    return fit_temperature(task.model.cpu(), outputs[MAIN], labels).signature.temperature


def _read_state(run: Path) -> Content:
    content = read_run(run)
    if content is None:
        raise ModelError(f"{run / LAST} was removed while the training ran.", hint=START_OVER)
    return content
