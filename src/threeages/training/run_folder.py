"""A run's folder: one state that counts, and the files that are written from it."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from threeages.errors import ConfigError, ModelError
from threeages.files.csvfiles import format_rows
from threeages.files.writing import write_bytes
from threeages.training.checkpoint import BEST, LAST, PREVIOUS
from threeages.training.config import TrainConfig, select_fixed
from threeages.training.identity import describe_changes
from threeages.training.recipes import CONFIG_FILE
from threeages.training.state_file import Content, read_content, read_state, serialize_content, write_state
from threeages.training.tasks import ClassificationTask

logger = logging.getLogger(__name__)

KIND = "training"  # of the states here, among other checkpoints
METRICS_FILE = "metrics.csv"
START_OVER = "Remove the folder to start over, or give another --out."


def read_run(run: Path) -> Content | None:
    """The state in a run's folder, None in a new one.

    Where it is damaged the state before it takes its place, with a warning in the log. Raises ModelError
    where neither can be read, and ConfigError where there is a model but no state of its training.
    """
    content = read_state(run / LAST, run / PREVIOUS, _describe_place, START_OVER, kind=KIND)
    if content is None and (run / BEST).exists():
        raise ConfigError(
            f"{run} holds a model, {BEST}, without the state of its training, {LAST}.", hint=START_OVER
        )
    return content


def read_data(run: Path) -> Mapping[str, str]:
    """The digests of what a run was trained on, and nothing in its folder changes.

    Empty where no state of its training is whole: a warning in the log says so where there is one.
    """
    there = [run / name for name in (LAST, PREVIOUS) if (run / name).exists()]
    for path in there:
        with suppress(ModelError):
            return dict(read_content(path, "").get("data", {}))
    if there:
        logger.warning("%s is damaged: what its run was trained on is not known.", there[0])
    return {}


def write_run(run: Path, content: Content) -> None:
    """Write the state durably, then what is written from it."""
    write_state(run / LAST, run / PREVIOUS, {"kind": KIND, **content})


def write_derived(run: Path, content: Content) -> None:
    """Write `best.ckpt`, `metrics.csv` and `config.json` where they are not as the state says."""
    write_config(run, content["config"], content["split"])
    write_metrics(run, content["history"])
    best = describe_best(content)
    _update(run / BEST, None if best is None else serialize_content(best))


def write_config(run: Path, config: Mapping[str, Any], split: Mapping[str, Any]) -> None:
    """Write the settings and what is said of the split to `config.json`, unless it holds them."""
    text = json.dumps({"config": config, "split": split}, indent=2) + "\n"
    _update(run / CONFIG_FILE, text.encode())


def write_metrics(run: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write a row for each epoch to `metrics.csv`, unless it holds them; without any there is no file."""
    _update(run / METRICS_FILE, format_rows(history).encode() if history else None)


def copy_best(task: ClassificationTask, epoch: int) -> Content:
    """The part of a state that keeps an epoch's model: a copy, as the weights train on."""
    model = {name: value.detach().cpu().clone() for name, value in task.model.state_dict().items()}
    own = {name: value.detach().cpu().clone() for name, value in task.own_state().items()}
    return {"epoch": epoch, "model": model, "task": own}


def describe_best(content: Content) -> Content | None:
    """What `best.ckpt` holds by a state: the kept epoch's model, with the temperature where it is fitted."""
    best = content["best"]
    if best is None:
        return None
    signature = dict(content["signature"])
    if content["temperature"] is not None:
        signature["temperature"] = content["temperature"]
    return {
        "signature": signature,
        "architecture": content["architecture"],
        "model": best["model"],
        "task": best["task"],
        "history": content["history"][: best["epoch"]],
        "config": content["config"],
    }


def load_best(task: ClassificationTask, content: Content) -> None:
    """Fill a task with the kept epoch's weights, and with the temperature where it is fitted."""
    task.model.load_state_dict(content["best"]["model"])
    task.load_state_dict(content["best"]["task"], strict=False)
    if content["temperature"] is not None:
        task.model.signature = replace(task.model.signature, temperature=content["temperature"])


def check_config(saved: Content, config: TrainConfig, run: Path) -> None:
    """Raise ConfigError, which names the settings, that differ, where the run cannot resume with these."""
    before, now = (select_fixed(TrainConfig, values) for values in (saved["config"], config.to_dict()))
    if changes := describe_changes(before, now):
        raise ConfigError(
            f"{run} holds a run of another configuration: {changes}.",
            hint="Give another --out folder, or the settings of that run.",
        )


def _describe_place(content: Content) -> str:
    """Where a training resumes, in words."""
    epoch, within = len(content.get("history", ())), content.get("within")
    if within:
        return f"epoch {epoch + 1}, step {within['step'] + 1}"
    return f"the end of epoch {epoch}" if epoch else "its start"


def _update(path: Path, content: bytes | memoryview | None) -> None:
    """Write a file unless it holds this content; None: there is to be no such file."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    try:
        same = path.read_bytes() == content
    except OSError:
        same = False
    if not same:
        write_bytes(path, content)
