"""When a training's state is written into its run's folder, and how the next start loads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from threeages.errors import ModelError, describe_cause
from threeages.training.autosave import SaveTimer, capture_random
from threeages.training.checkpoint import LAST
from threeages.training.config import TrainConfig
from threeages.training.ranks import Ranks
from threeages.training.run_folder import START_OVER, read_run, write_derived, write_run
from threeages.training.state import State
from threeages.training.tasks import ClassificationTask


class Saver:
    """Writes the state into a run's folder when it is time to; `notes` go into it (loop.train_epochs).

    It does nothing unless it `writes`: of several processes one does.
    """

    def __init__(
        self, run: Path, config: TrainConfig, notes: Mapping[str, Any] | None, *, writes: bool = True
    ) -> None:
        self.run = run
        self.writes = writes
        self.shared = {"config": config.to_dict(), "data": {}, "split": {}, **(notes or {})}
        self.timer = SaveTimer()

    def after_step(self, state: State, rng: np.random.Generator) -> None:
        """Save where a minute of work would be lost; the next step draws from `rng`."""
        if self.writes and self.timer.is_due():
            state.sums.random = capture_random(rng)
            self._save(state)

    def after_epoch(self, state: State, *, is_last: bool) -> None:
        """Save unless that takes most of the time; then come the files that are written from it."""
        if self.writes and (is_last or self.timer.is_affordable()):
            self._save(state)
            write_derived(self.run, state.content() | self.shared)

    def _save(self, state: State) -> None:
        with self.timer.save():
            write_run(self.run, state.content() | self.shared)


def load_saved(run: Path, task: ClassificationTask, ranks: Ranks) -> Mapping[str, Any]:
    """Fill the weights from `last.ckpt`; what it holds, empty where there is no such file.

    Of several processes the first reads it for all. Raises ModelError where it is of another network.
    """
    content = ranks.broadcast(read_run(run) if ranks.is_main else None)
    if content is None:
        return {}
    if ranks.is_main:
        write_derived(run, content)
    try:
        task.model.load_state_dict(content["model"])
        task.load_state_dict(content["task"], strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"{run / LAST} is of another network: {describe_cause(error)}.", hint=START_OVER
        ) from error
    return content
