"""Images of all requests to records: decoded in processes, answered by the model in shared batches."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from threeages.faces.images import Pixels
from threeages.inference.occlusion import cover_patches, fall_grid
from threeages.inference.predictor import Predictor, Prepared
from threeages.inference.records import Record
from threeages.inference.runtime import OnnxModel
from threeages.server.metrics import Metrics
from threeages.server.problems import BusyError, RequestError
from threeages.server.settings import Settings
from threeages.server.workers import Job, WorkerPool


@dataclass(frozen=True)
class Upload:
    """One image as it was sent."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Heatmap:
    """What counted for one face: its likeliest age group, the crop that the model saw, and `fall_grid`."""

    age_group: str
    crop: Pixels
    largest: float
    grid: list[list[float]]


class Batcher:
    """Gathers prepared images into one call of the model.

    A lone image is answered at once. While others are still being decoded (`more_coming`), the first of a
    batch waits at most `wait` seconds for them.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Prepared]], list[list[Record]]],
        *,
        size: int,
        wait: float,
        more_coming: Callable[[], bool],
    ) -> None:
        self._answer, self._size, self._wait, self._more_coming = answer, size, wait, more_coming
        self._queue: asyncio.Queue[tuple[Prepared, asyncio.Future[list[Record]]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._run())

    async def answer(self, prepared: Prepared) -> list[Record]:
        """Records of one prepared image."""
        future: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((prepared, future))
        return await future

    async def stop(self) -> None:
        """End the task; what still waits is cancelled."""
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
                for (_, future), records in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(records)

    async def _gather(self) -> list[tuple[Prepared, asyncio.Future[list[Record]]]]:
        batch = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self._wait
        while sum(len(p.pixels) for p, _ in batch) < self._size:
            if self._queue.empty() and not self._more_coming():
                break
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return batch


class Engine:
    """The one predictor behind every request; `start` it in a running event loop."""

    def __init__(self, model: Path, settings: Settings, metrics: Metrics) -> None:
        self._path, self._settings, self._metrics = model, settings, metrics
        self.model = OnnxModel(model, threads=1)
        self._predictor = Predictor(
            self.model, None, max_error=settings.max_error, coverage=settings.coverage
        )
        self._keys = itertools.count()
        self._in_flight = self._preparing = 0
        self.ready = False

    async def start(self) -> None:
        """Start the decoding processes and warm them and the model up."""
        self._pool = await asyncio.to_thread(WorkerPool, self._path, self._settings)
        settings = self._settings
        self._batcher = Batcher(
            self._answer,
            size=settings.batch_size,
            wait=settings.batch_wait,
            more_coming=lambda: self._preparing > 0,
        )
        # a full batch, so that the memory the model keeps for one is there from the start
        count, size = settings.batch_size, self.model.signature.input_size
        black = np.zeros((size, size, 3), dtype=np.uint8)
        blank = Prepared("warm-up", ((0, 0, size, size),) * count, (black,) * count)
        await asyncio.gather(asyncio.to_thread(self._pool.warm_up), self._batcher.answer(blank))
        self._metrics.watch(lambda: self._in_flight, lambda: self._pool.restarts)
        self.ready = True

    async def stop(self) -> None:
        """End every process and thread."""
        self.ready = False
        await self._batcher.stop()
        await asyncio.to_thread(self._pool.stop)

    async def predict(self, uploads: Sequence[Upload], *, detect: bool) -> list[Record]:
        """Records of the images in their order; BusyError when the queue is full, 504 when time is up."""
        async with self._admitted(len(uploads)):
            answers = await asyncio.gather(*(self._predict_one(upload, detect) for upload in uploads))
        records = [record for answer in answers for record in answer]
        self._metrics.count_records(records)
        return records

    async def explain(self, upload: Upload, face: int, *, detect: bool) -> Heatmap:
        """What counted for the answer of one face, by its place among the image's records."""
        async with self._admitted(1):
            prepared = await self._prepare(upload, detect)
            if face >= len(prepared.pixels):
                message = f"The image has {len(prepared.pixels)} faces; face {face} was asked for."
                raise RequestError(422, message, hint=prepared.message or "Count from 0.")
            crop = prepared.pixels[face]
            covered = cover_patches(crop)
            records = await asyncio.gather(
                *(self._answer_crop(prepared.boxes[face], pixels) for pixels in [crop, *covered])
            )
        probs = [record.probs or {} for record in records]
        group = max(probs[0], key=probs[0].__getitem__)
        return Heatmap(group, crop, *fall_grid(probs[0][group], [p[group] for p in probs[1:]]))

    @asynccontextmanager
    async def _admitted(self, count: int) -> AsyncIterator[None]:
        """Hold places in the queue, and the time limit, for `count` images of one request."""
        if self._in_flight + count > self._settings.queue_size:
            raise BusyError(f"{self._in_flight} images wait already; at most {self._settings.queue_size}.")
        self._in_flight += count
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                yield
        except TimeoutError:
            message = f"The answer took longer than {self._settings.request_timeout:g} s."
            raise RequestError(504, message, hint="Send fewer images at once.") from None
        finally:
            self._in_flight -= count

    async def _predict_one(self, upload: Upload, detect: bool) -> list[Record]:
        prepared = await self._prepare(upload, detect)
        return [replace(r, path=upload.name) for r in await self._batcher.answer(prepared)]

    async def _prepare(self, upload: Upload, detect: bool) -> Prepared:
        job = Job(str(next(self._keys)), upload.data, detect)
        self._preparing += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool.threads, self._pool.prepare, job)
        finally:
            self._preparing -= 1

    async def _answer_crop(self, box: tuple[int, int, int, int], pixels: Pixels) -> Record:
        (record,) = await self._batcher.answer(Prepared(str(next(self._keys)), (box,), (pixels,)))
        return record

    def _answer(self, items: Sequence[Prepared]) -> list[list[Record]]:
        self._metrics.batches.observe(sum(len(item.pixels) for item in items))
        answers: dict[str, list[Record]] = {item.path: [] for item in items}
        for record in self._predictor.answer(items):
            answers[record.path].append(record)
        return list(answers.values())
