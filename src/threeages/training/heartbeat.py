"""Every process of a training shows that it lives, so that none waits for one that is gone."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

SECONDS = 2.0  # between two beats
MISSED = 8  # beats after which a process counts as gone; its own, so that a machine that slept is not


class Heartbeat:
    """Counts up this process's beat in a thread, and calls `on_lost` with the rank of one that stopped.

    The first process watches all others and tells them, they watch it; -1 stands for the store, which is
    mostly in the first process. A process that is at work for long in one step beats on; one that is stopped
    or dead, or on a machine without power or network, does not.
    """

    def __init__(
        self, connect: Callable[[], Any], rank: int, size: int, on_lost: Callable[[int], None]
    ) -> None:
        self._connect = connect  # to the store, which waits for the first process
        self._store: Any = None
        self._rank = rank
        self._on_lost = on_lost
        self._seen = {other: [0, 0] for other in (range(1, size) if rank == 0 else [0])}  # beat, misses
        self._unanswered = 0  # own beats since the store answered last
        self._stopped = Event()
        self._beats = Thread(target=self._run, args=(self._beat,), name="threeages-heartbeat", daemon=True)
        # the store may never answer the other thread
        self._watch = Thread(target=self._run, args=(self._tick,), name="threeages-watch", daemon=True)

    def start(self) -> None:
        """Begin to beat and to watch."""
        self._beats.start()
        self._watch.start()

    def stop(self) -> None:
        """End both."""
        self._stopped.set()
        self._beats.join()
        self._watch.join()

    def _run(self, step: Callable[[], int | None]) -> None:
        while not self._stopped.wait(SECONDS):
            try:
                lost = step()
            except RuntimeError:  # torch's errors of a connection
                lost = -1
            if lost is not None and not self._stopped.is_set():
                self._on_lost(lost)
                return

    def _beat(self) -> int | None:
        """Beat once; the rank of a process that stopped, None where all go on or have not begun."""
        self._store = self._store or self._connect()
        self._store.add(f"beat/{self._rank}", 1)
        if told := self._store.add("lost", 0):
            return int(told) - 1
        for other, seen in self._seen.items():
            beat = self._store.add(f"beat/{other}", 0)
            seen[:] = (beat, 0) if beat != seen[0] or not beat else (beat, seen[1] + 1)
            if seen[1] >= MISSED:
                self._store.add("lost", other + 1)
                return other
        self._unanswered = 0
        return None

    def _tick(self) -> int | None:
        self._unanswered += self._store is not None
        return -1 if self._unanswered > MISSED else None
