"""Answers images on a Ray cluster: every one of them once, whatever happens to a worker or a machine."""

import logging
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from threeages.cluster.answering import AnswerOptions
from threeages.cluster.guarded import GuardedAnswerer
from threeages.cluster.rounds import RoundReader, Waiting
from threeages.errors import DataError, ThreeAgesError, describe_cause
from threeages.inference.records import Record
from threeages.inference.sources import Source

logger = logging.getLogger(__name__)

BLOCK = 64  # images that a worker takes at a time; a lost worker's block is answered again
IN_FLIGHT = 3  # blocks that wait at a worker, so that it never waits for the next one
TRIES = 3  # rounds in which the cluster answers nothing before the command ends
NUMBER, SOURCE, ANSWERS = "number", "source", "answers"  # columns
Answer = tuple[int, list[Record]]  # the number of an image in its round, and its records


class Worker:
    """A worker of the cluster: it holds the model once, in a process that an image may end."""

    def __init__(self, options: AnswerOptions) -> None:
        # a process that this one starts would import Ray's program, the main module here
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._answerer = GuardedAnswerer(options)

    def __call__(self, block: Any) -> Any:
        """The answers to a table of images, or an error of ours, as a table of one row."""
        import pyarrow

        return pyarrow.table({ANSWERS: [pickle.dumps(self._answer(block))]})

    def _answer(self, block: Any) -> list[Answer] | ThreeAgesError:
        sources = [pickle.loads(pickled) for pickled in block.column(SOURCE).to_pylist()]
        try:
            found = self._answerer.answer(sources)
        except ThreeAgesError as error:  # what Ray makes of an exception has lost its cause
            return error
        return list(zip(block.column(NUMBER).to_pylist(), found, strict=True))


def predict_on_cluster(ray: Any, sources: Iterable[Source], options: AnswerOptions) -> Iterator[list[Record]]:
    """Yield the records of each image together, as soon as it is answered, in the order of the answers.

    The images of a round are a data set of Ray, in blocks of BLOCK images. What a lost worker or machine had
    not answered is answered by another one. The images' names must be valid on every machine.

    Args:
        ray: The connected module (`connect_ray`).
        sources: The images. They are listed in this process, and read by the workers.
        options: What the answers depend on.

    Raises:
        ModelError: A machine has another model.
        DataError: The cluster has answered nothing in TRIES tries.
    """
    reader = RoundReader(sources)
    try:
        for images in reader.rounds():
            yield from _answer_round(ray, images, options)
    finally:
        reader.stop()


def _answer_round(ray: Any, images: list[Waiting], options: AnswerOptions) -> Iterator[list[Record]]:
    """The records of every image of a round: those that are missing after a try are given to the next one."""
    waiting, failures = dict(enumerate(images)), 0
    while waiting:
        before, error = len(waiting), None
        try:
            for number, records in _run(ray, waiting, options):
                if waiting.pop(number, None):  # a worker that was lost after its answer gives it twice
                    yield records
        except ray.exceptions.RayError as raised:
            error = raised
            logger.info("Workers were lost; %d images are given to others.", len(waiting))
        failures = failures + 1 if len(waiting) == before else 0
        if waiting and failures == TRIES:
            raise _gives_up(len(waiting), error)


def _run(ray: Any, waiting: Mapping[int, Waiting], options: AnswerOptions) -> Iterator[Answer]:
    """One execution by Ray of the images that are waiting."""
    images = list(waiting.items())
    blocks = [_as_table(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)]
    workers = min(len(blocks), max(1, int(ray.cluster_resources().get("CPU", 1))))
    answered = ray.data.from_arrow(blocks).map_batches(
        Worker,
        fn_constructor_args=(options,),
        batch_size=BLOCK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT),
        num_cpus=1,
    )
    for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        for pickled in table.column(ANSWERS).to_pylist():
            answers: list[Answer] | ThreeAgesError = pickle.loads(pickled)
            if isinstance(answers, ThreeAgesError):
                raise answers
            yield from answers


def _as_table(block: Sequence[tuple[int, Waiting]]) -> Any:
    import pyarrow

    numbers, images = zip(*block, strict=True)
    sources = pyarrow.array([image.pickled for image in images], pyarrow.binary())
    return pyarrow.table({NUMBER: list(numbers), SOURCE: sources})


def _gives_up(images: int, error: BaseException | None) -> DataError:
    reason = f": {describe_cause(error)}" if error else ""
    return DataError(
        f"The cluster answers none of {images:,} images{reason}.",
        hint="Check its machines with 'ray status', and give the same command with --resume.",
    )
