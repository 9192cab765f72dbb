"""Every process of a training shows that it lives, so that none waits for one that is gone."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

SECONDS = 2.0  # between two beats
MISSED = 10  # beats after which a process counts as gone; its own, so that a machine that slept is not


class Heartbeat:
    """A thread that counts up this process's beat, and calls `on_lost` with the rank of one that stopped.

    The first process watches all others and tells them, they watch it; -1 stands for the store itself, which
    ends with the first process. A process at work for long in one step beats on, one that is stopped, dead or
    on a machine without power or network does not.
    """

    def __init__(self, store: Any, rank: int, size: int, on_lost: Callable[[int], None]) -> None:
        self._store = store
        self._rank = rank
        self._on_lost = on_lost
        self._seen = {other: [0, 0] for other in (range(1, size) if rank == 0 else [0])}  # beat, misses
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="threeages-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat and to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End both; the others must have ended theirs, or no longer watch."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SECONDS):
            try:
                lost = self._beat()
            except RuntimeError:  # torch's errors of a connection
                lost = -1
            if lost is not None and not self._stopped.is_set():
                self._on_lost(lost)
                return

    def _beat(self) -> int | None:
        """Beat once; the rank of a process that stopped, None where all go on."""
        self._store.add(f"beat/{self._rank}", 1)
        if told := self._store.add("lost", 0):
            return int(told) - 1
        for other, seen in self._seen.items():
            beat = self._store.add(f"beat/{other}", 0)
            seen[:] = (beat, 0) if beat != seen[0] else (beat, seen[1] + 1)
            if seen[1] >= MISSED:
                self._store.add("lost", other + 1)
                return other
        return None
