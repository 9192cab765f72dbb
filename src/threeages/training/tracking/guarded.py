"""A tracker whose failure costs no training: it is said once, and what is missing is sent later."""

import logging
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from threeages.errors import DataError, ThreeAgesError, describe_cause, list_causes
from threeages.training.epochs import Epoch
from threeages.training.tracking.record import load_record, save_record
from threeages.training.tracking.tracker import Description, Tracker

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0  # between tries while a tracker fails: each may keep the training waiting
CREDENTIALS = re.compile(r"//[^/@\s]+@")  # in an address that a library's message quotes
HINT = "Check its address and that it runs, or leave it out; nothing was trained yet."


class GuardedTracker:
    """Sends a tracker what it lacks of a training, whenever there is something new and it answers."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name = name
        self.tracker = tracker
        self._history: list[Epoch] = []
        self._test: dict[str, float] = {}
        self._is_open = self._has_failed = False
        self._next_try = 0.0

    def start(self, about: Description, history: Sequence[Epoch]) -> None:
        """Open the training's tracking run and send the epochs of `history` that it lacks.

        Raises DataError where that fails before the first epoch: then nothing is lost yet.
        """
        self._about, self._history = about, list(history)
        self._record = load_record(about.folder, self.name, self.tracker.place)
        try:
            self._send()
        except Exception as error:  # every library raises its own unrelated classes
            if not history:
                raise DataError(self._describe(error), hint=HINT) from error
            self._fail(error)

    def log_epoch(self, epoch: Epoch) -> None:
        """Send an epoch, and those before it that are missing."""
        self._history.append(epoch)
        if time.monotonic() >= self._next_try:
            self._try_to_send()

    def log_test(self, metrics: Mapping[str, float]) -> None:
        """Send the metrics of the test rows, and what is missing."""
        self._test = select_finite(metrics)
        self._try_to_send()

    def close(self, *, finished: bool) -> None:
        """End the tracking run."""
        if not self._is_open or self._next_try:
            return
        try:
            self.tracker.close(finished=finished)
        except Exception as error:
            self._fail(error)

    def _try_to_send(self) -> None:
        try:
            self._send()
        except Exception as error:
            self._fail(error)

    def _send(self) -> None:
        """Send all that the tracker lacks; raises what its library raises."""
        self._open()
        for epoch in self._history[self._record.epochs :]:
            self.tracker.log(select_finite(epoch), epoch["epoch"])
            self._record.epochs += 1
            self._save()
        if self._test and self._test != self._record.test:
            self.tracker.log(self._test, self._record.epochs)
            self._record.test = self._test
            self._save()
        self._next_try = 0.0

    def _open(self) -> None:
        if self._is_open:
            return
        if not self._record.run_id:
            self._record.run_id = self.tracker.create_run(self._about)
            self._save()
        self.tracker.open_run(self._record.run_id, self._about)
        self._is_open = True
        logger.info("%s: run %s at %s.", self.tracker.title, self._record.run_id, self.tracker.place)

    def _save(self) -> None:
        save_record(self._about.folder, self.name, self._record)

    def _fail(self, error: Exception) -> None:
        """Say once that the tracker fails, and leave it alone for a while."""
        self._next_try = time.monotonic() + RETRY_SECONDS
        if not self._has_failed:
            self._has_failed = True
            logger.warning(
                "%s The training goes on, and metrics.csv has every epoch. What is missing there is sent "
                "when it answers again, or by the same command after the training.",
                self._describe(error),
            )

    def _describe(self, error: Exception) -> str:
        root = error if isinstance(error, ThreeAgesError) else list(list_causes(error))[-1]
        cause = CREDENTIALS.sub("//", describe_cause(root))
        return f"{self.tracker.title} at {self.tracker.place} does not take the metrics: {cause}."


def select_finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers with a point among values by name, without infinite ones and those that are none."""
    return {k: v for k, v in values.items() if isinstance(v, float) and math.isfinite(v)}
