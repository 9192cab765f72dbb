"""When a state is saved within an epoch, and the random states that belong to it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SAVE_SECONDS = 60.0  # of work that a kill loses at most, the time to save included
SAVE_SHARE = 0.05  # of the time that saving may take; a state that is slow to write is saved less often


class SaveTimer:
    """Says after which steps to save, from how long steps and saves have taken so far.

    `is_due` is asked after every step, `is_affordable` after an epoch, and every save stands in a block of
    `save`.
    """

    def __init__(self) -> None:
        self._saved = self._seen = time.monotonic()
        self._cost = 0.0
        self._step = 0.0

    def is_due(self) -> bool:
        """Whether the save must start now: after another step it would end too late."""
        now = time.monotonic()
        self._step = max(self._step, now - self._seen)
        self._seen = now
        return now - self._saved >= max(SAVE_SECONDS - self._cost - self._step, self._cost / SAVE_SHARE)

    def is_affordable(self) -> bool:
        """Whether to save after an epoch: always, but where saves are slow and the last one was just now."""
        least = self._cost / SAVE_SHARE
        return least <= SAVE_SECONDS or time.monotonic() - self._saved >= least

    @contextmanager
    def save(self) -> Iterator[None]:
        """Measure the block, which writes the state as it is now."""
        start = time.monotonic()
        yield
        self._seen = time.monotonic()
        self._saved, self._cost = start, self._seen - start


def capture_random(rng: np.random.Generator) -> dict[str, Any]:
    """The states of a numpy generator and of torch's, on all devices, as plain values and tensors."""
    state: dict[str, Any] = {"numpy": dict(rng.bit_generator.state), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random(state: Mapping[str, Any], rng: np.random.Generator) -> None:
    """Inverse of `capture_random`; a machine with other devices keeps their own states."""
    rng.bit_generator.state = state["numpy"]
    torch.set_rng_state(state["torch"])
    if len(state.get("cuda", ())) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(state["cuda"])
