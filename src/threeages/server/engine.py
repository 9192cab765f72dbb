"""From the images of all requests to records: prepared in processes, answered in batches across requests."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from threeages.faces.images import Pixels
from threeages.faces.opencv import warn_of_two_opencv_packages
from threeages.inference.answer import Policy
from threeages.inference.classify import FaceClassifier, Output
from threeages.inference.occlusion import occlude_patches, occlusion_map
from threeages.inference.predictor import open_brackets
from threeages.inference.prepare import PreparedFace, PreparedImage
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel
from threeages.inference.together import Together
from threeages.server.metrics import Metrics
from threeages.server.problems import BusyError, RequestError
from threeages.server.settings import Settings
from threeages.server.workers import Job, WorkerPool

Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Upload:
    """One image as it was sent."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Answer:
    """The records of one image, with its faces and the outputs for them, which `Together` takes."""

    prepared: PreparedImage
    records: list[Record]
    outputs: list[Output]


@dataclass(frozen=True)
class Explanation:
    """The most probable age group of a face, its crop and the rows of its occlusion map."""

    age_group: str
    crop: Pixels
    drops: list[list[float]]


class Batcher(Generic[Answered]):
    """Gathers prepared images into batches for the model.

    A lone image is answered at once. While others are still being prepared (`more_coming`), the first of a
    batch waits at most `wait` seconds for them. A batch ends at `size` faces.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[PreparedImage]], list[Answered]],
        *,
        size: int,
        wait: float,
        more_coming: Callable[[], bool],
    ) -> None:
        self._answer, self._size, self._wait, self._more_coming = answer, size, wait, more_coming
        self._queue: asyncio.Queue[tuple[PreparedImage, asyncio.Future[Answered]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._run())

    async def answer(self, prepared: PreparedImage) -> Answered:
        """The answer for one prepared image."""
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((prepared, future))
        return await future

    async def stop(self) -> None:
        """End the task and cancel the images that still wait."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [(p, f) for p, f in await self._gather() if not f.done()]  # done: its request timed out
            if not batch:
                continue
            try:
                items = [prepared for prepared, _ in batch]
                answers = await loop.run_in_executor(self._thread, self._answer, items)
            except Exception as error:
                for future in (f for _, f in batch if not f.done()):
                    future.set_exception(error)
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    async def _gather(self) -> list[tuple[PreparedImage, asyncio.Future[Answered]]]:
        batch = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self._wait
        while sum(len(p.faces) for p, _ in batch) < self._size:
            if self._queue.empty() and not self._more_coming():
                break
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return batch


class Engine:
    """Answers the images of every request; call `start` inside the running event loop."""

    def __init__(self, model: Path, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        warn_of_two_opencv_packages()
        self.model = OnnxModel(model, threads=1, device=settings.device)
        brackets = open_brackets(self.model, settings.brackets)
        policy = Policy.create(self.model.signature, settings.max_error, settings.coverage, brackets)
        self._classifier = FaceClassifier(self.model, policy)
        self._keys = itertools.count()
        self._in_flight = self._preparing = 0
        self.ready = False

    async def start(self) -> None:
        """Start the decoding processes, and warm them and the model up."""
        settings = self._settings
        self._pool = await asyncio.to_thread(WorkerPool, self.model.signature, settings)
        self._batcher = Batcher(
            self._answer,
            size=settings.batch_size,
            wait=settings.batch_wait,
            more_coming=lambda: self._preparing > 0,
        )
        # a full batch, so that the memory the model keeps for one is there from the start
        count, size = settings.batch_size, self.model.signature.input_size
        black = np.zeros((size, size, 3), dtype=np.uint8)
        blank = PreparedImage("warm-up", (PreparedFace((0, 0, size, size), black),) * count)
        await asyncio.gather(asyncio.to_thread(self._pool.warm_up), self._batcher.answer(blank))
        self._metrics.watch(lambda: self._in_flight, lambda: self._pool.restarts)
        self.ready = True

    async def stop(self) -> None:
        """End every process and thread."""
        self.ready = False
        await self._batcher.stop()
        await asyncio.to_thread(self._pool.stop)

    async def predict(self, uploads: Sequence[Upload], *, detect: bool, together: bool) -> list[Record]:
        """The records of the images, in order; with `together` one more for all of them, the last.

        Raises BusyError where the queue is full, and RequestError 504 where the time is up.
        """
        async with self._admitted(len(uploads)):
            answers = await asyncio.gather(*(self._predict_one(upload, detect) for upload in uploads))
        records = [record for answer in answers for record in answer.records]
        if together:
            records.append(self._pool_answers(answers))
        self._metrics.count_records(records)
        return records

    async def explain(self, upload: Upload, face: int, *, detect: bool) -> Explanation:
        """The occlusion map of one face, given by its place among the image's records.

        Raises RequestError 422 where the image has no such face.
        """
        async with self._admitted(1):
            prepared = await self._prepare(upload, detect)
            if face >= len(prepared.faces):
                message = f"The image has {len(prepared.faces)} faces, but the request names face {face}."
                raise RequestError(422, message, hint=prepared.message or "Count from 0.")
            whole = replace(prepared.faces[face], rejection="")
            copies = [replace(whole, pixels=pixels) for pixels in occlude_patches(whole.pixels)]
            answer = await self._batcher.answer(PreparedImage(prepared.path, (whole, *copies)))
        probs = [record.probs or {} for record in answer.records]
        group = max(probs[0], key=probs[0].__getitem__)
        drops = occlusion_map(probs[0][group], [p[group] for p in probs[1:]])
        return Explanation(group, whole.pixels, drops.tolist())

    @asynccontextmanager
    async def _admitted(self, count: int) -> AsyncIterator[None]:
        """Hold `count` places in the queue while a request is answered within its time limit."""
        if self._in_flight + count > self._settings.queue_size:
            raise BusyError(f"{self._in_flight} images wait already, of at most {self._settings.queue_size}.")
        self._in_flight += count
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                yield
        except TimeoutError:
            message = f"The answer took longer than {self._settings.request_timeout:g} s."
            raise RequestError(504, message, hint="Send fewer images at once.") from None
        finally:
            self._in_flight -= count

    async def _predict_one(self, upload: Upload, detect: bool) -> Answer:
        answer = await self._batcher.answer(await self._prepare(upload, detect))
        return replace(answer, records=[replace(r, path=upload.name) for r in answer.records])

    def _pool_answers(self, answers: Sequence[Answer]) -> Record:
        together = Together(self._classifier.policy)
        for answer in answers:
            together.add(answer.prepared, answer.outputs)
        return together.record()

    async def _prepare(self, upload: Upload, detect: bool) -> PreparedImage:
        job = Job(str(next(self._keys)), upload.data, detect)
        self._preparing += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool.threads, self._pool.prepare, job)
        finally:
            self._preparing -= 1

    def _answer(self, items: Sequence[PreparedImage]) -> list[Answer]:
        self._metrics.batches.observe(sum(len(item.faces) for item in items))
        rest = iter(self._classifier.outputs(items))
        answers = []
        for item in items:
            found = list(islice(rest, len(item.faces)))
            answers.append(Answer(item, list(self._classifier.records([item], found)), found))
        return answers
