"""Images in rounds: those that a thread has listed while the cluster was busy with the ones before."""

import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import copy_context
from pathlib import Path
from threading import Condition, Thread
from typing import NamedTuple

from threeages.inference.pipeline import MIB, held_bytes
from threeages.inference.sources import Source

ROUND_IMAGES = 200_000  # about 60 MiB of names
ROUND_BYTES = 512 * MIB  # of images that are not files
PATIENCE = 2.0  # seconds after its first image that a round waits for more


class Waiting(NamedTuple):
    """An image that waits to be answered: its source as pickle writes it, to be read by a worker."""

    name: str
    pickled: bytes


class RoundReader:
    """Reads sources in a thread of its own and gives what is listed, a round at a time.

    A round ends with ROUND_IMAGES images, with ROUND_BYTES of their contents, or where nothing more was
    listed PATIENCE after its first image. An exception of the sources is raised after the round before it.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self._news = Condition()
        self._listed: deque[Waiting] = deque()
        self._held = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        read = copy_context().run
        self._thread = Thread(
            target=read, args=(self._read, iter(sources)), name="threeages-listing", daemon=True
        )
        self._thread.start()

    def rounds(self) -> Iterator[list[Waiting]]:
        """The images of each round."""
        while found := self._take():
            yield found
        if self._error:
            raise self._error

    def stop(self) -> None:
        """End the thread with the next image of its source."""
        with self._news:
            self._stopped = True
            self._news.notify_all()

    def _take(self) -> list[Waiting]:
        with self._news:
            self._news.wait_for(lambda: self._listed or self._ended)
            deadline = time.monotonic() + PATIENCE
            while not (self._ended or self._is_full()):
                if not self._news.wait(deadline - time.monotonic()):
                    break
            found = list(self._listed)
            self._listed.clear()
            self._held = 0
            self._news.notify_all()
            return found

    def _is_full(self) -> bool:
        return len(self._listed) >= ROUND_IMAGES or self._held >= ROUND_BYTES

    def _read(self, sources: Iterator[Source]) -> None:
        try:
            for source in sources:
                self._add(Waiting(source.name, _pickle(source)), held_bytes(source.content))
                del source  # or it is held until there is a next one
                if self._stopped:
                    return
        except BaseException as error:  # raised where the rounds are taken
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _add(self, image: Waiting, held: int) -> None:
        with self._news:
            self._news.wait_for(lambda: self._stopped or not self._is_full())
            self._listed.append(image)
            self._held += held
            if len(self._listed) == 1 or self._is_full():
                self._news.notify_all()


def _pickle(source: Source) -> bytes:
    """The source for a process with another current folder."""
    content = source.content
    return pickle.dumps(Source(source.name, content.absolute() if isinstance(content, Path) else content))
