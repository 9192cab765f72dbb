"""Answers images in a process of its own, so that an image which ends it costs no other image its answer."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress

from threeages.cluster import answering
from threeages.cluster.answering import AnswerOptions
from threeages.errors import DataError, ModelError
from threeages.inference.records import Record
from threeages.inference.sources import Source
from threeages.processes import start_processes

TRIES = 2  # of one image alone: another cause may end the process once
IMAGE_SECONDS = 60.0  # that an image may take
POISONED = "Decoding it ended the process or took longer than {:g} s. Save the image again."


class GuardedAnswerer:
    """Answers lists of images in one process, which is replaced where an image ends it.

    The images of that list are then answered one at a time; the one that ends the process again has a record
    that says so. Raises ModelError where the process does not start.
    """

    def __init__(self, options: AnswerOptions) -> None:
        self._options = options
        self._pool: ProcessPoolExecutor | None = None
        self._started = ExitStack()

    def answer(self, sources: Sequence[Source]) -> list[list[Record]]:
        """The records of each image, in order."""
        found = self._try(sources)
        return [self._answer_alone(source) for source in sources] if found is None else found

    def close(self) -> None:
        """End the process at once, in the middle of an image too."""
        self._pool = None
        with suppress(DataError, BrokenProcessPool), self._started:
            raise BrokenProcessPool

    def _answer_alone(self, source: Source) -> list[Record]:
        for _ in range(TRIES):
            if found := self._try([source]):
                return found[0]
        return [Record(source.name, "corrupt", message=POISONED.format(IMAGE_SECONDS))]

    def _try(self, sources: Sequence[Source]) -> list[list[Record]] | None:
        """The records; None where the process ended, or was ended as an image takes too long."""
        pool = self._pool or self._start()
        try:
            future = pool.submit(answering.answer_images, self._options, sources)
            return future.result(IMAGE_SECONDS + len(sources))
        except (BrokenProcessPool, TimeoutError):
            self.close()
            return None

    def _start(self) -> ProcessPoolExecutor:
        pool = self._started.enter_context(start_processes(1, answering.__name__))
        try:
            pool.submit(answering.warm_up, self._options).result()
        except BrokenProcessPool as error:
            self.close()
            raise ModelError(
                "A process that answers images does not start.", hint="Is there enough memory?"
            ) from error
        except BaseException:
            self.close()
            raise
        self._pool = pool
        return pool
