"""From a source of images to batches with outputs: read ahead, prepared and run in threads, in order."""

import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from threading import Condition, RLock, Thread
from typing import Generic, TypeVar

import numpy as np

from threeages.inference.classify import BATCH, Output
from threeages.inference.prepare import PreparedImage

MIB = 2**20
MIN_BYTES = 96 * MIB  # that images may hold on their way, and for each core where there are many
BYTES_PER_CORE = 32 * MIB  # a frame of 3840x2160 holds 24
MAX_IMAGES = 128  # in a batch, and waiting for one: a photo without a face holds no bytes
UNPREPARED_PER_CORE = (
    16  # enough that no core waits for the source; a path shows its bytes only when prepared
)
MAX_WAIT = 0.2  # seconds that a prepared image waits for the next ones of its batch
JOIN = 0.5  # seconds that an abandoned run waits for its source, which may be blocked for ever
READER = "threeages-source"  # name of the thread

Batch = tuple[list[PreparedImage], list[Output]]
RunModel = Callable[[list[PreparedImage]], list[Output]]
T = TypeVar("T")


def held_bytes(image: object) -> int:
    """Bytes that an image holds in memory before it is prepared; a path holds none."""
    if isinstance(image, bytes | bytearray):
        return len(image)
    if isinstance(image, io.BytesIO):
        return image.getbuffer().nbytes
    size = getattr(image, "size", 0)
    if isinstance(size, tuple):  # of Pillow: width and height
        return 4 * int(np.prod(size))
    return int(getattr(image, "nbytes", 0))


def run_batches(
    images: Iterable[T],
    prepare: Callable[[T], PreparedImage],
    run_model: RunModel,
    *,
    held: Callable[[T], int] = held_bytes,
    batch: int = BATCH,
) -> Iterator[Batch]:
    """Yield prepared images with the outputs for their faces, in the order of the source.

    A thread of its own reads the source, so that images are answered while the source waits for its next
    one. A batch is closed with `batch` faces; earlier where nothing else has been read, or MAX_WAIT after its
    first image was ready. What the images on their way hold is bounded in bytes, whatever their number and
    size; one larger image is let in alone. An exception of the source is raised after the answers of the
    images before it.

    Args:
        images: A lone image of a list is not worth starting threads.
        prepare: Finds the faces of an image.
        run_model: Gives the outputs for every face of a list of images.
        held: Bytes that an image holds in memory before it is prepared.
        batch: Faces in one run of the model.
    """
    if isinstance(images, Sized) and len(images) <= 1:
        prepared = [prepare(image) for image in images]
        yield prepared, run_model(prepared)
        return
    pipeline = _Pipeline(prepare, run_model, held, batch)
    try:
        yield from pipeline.run(images)
    finally:
        pipeline.stop()


@dataclass(eq=False, slots=True)
class _Waiting:
    """An image after the source and before its batch, and the bytes that it holds."""

    held: int
    prepared: PreparedImage | None = None
    error: BaseException | None = None
    ready: bool = False


@dataclass(eq=False)
class _Running:
    """A batch in the model."""

    images: list[PreparedImage]
    outputs: Future[list[Output]]
    held: int


class _Pipeline(Generic[T]):
    """One run. The same threads prepare images and run the model: no core waits for the other's part."""

    def __init__(
        self,
        prepare: Callable[[T], PreparedImage],
        run_model: RunModel,
        held: Callable[[T], int],
        batch_faces: int,
    ) -> None:
        self._prepare, self._run_model, self._held_by = prepare, run_model, held
        self._batch_faces = batch_faces
        self._cores = os.cpu_count() or 1
        self._budget = max(MIN_BYTES, self._cores * BYTES_PER_CORE)
        self._pool = ThreadPoolExecutor(self._cores)
        lock = RLock()
        self._room = Condition(lock)  # for the reader: an image may be let in
        self._news = Condition(lock)  # for who takes the answers: something was prepared or answered
        self._reader: Thread | None = None
        self._queue: deque[_Waiting] = deque()  # read from the source
        self._batch: list[PreparedImage] = []  # prepared; the next batch
        self._running: deque[_Running] = deque()
        self._faces = self._batch_held = 0  # of the next batch
        self._since = 0.0  # when its first image was ready
        self._ready_faces = 0  # prepared and still in the queue
        self._held = self._unprepared = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def run(self, images: Iterable[T]) -> Iterator[Batch]:
        read = copy_context().run
        self._reader = Thread(target=read, args=(self._read, iter(images)), name=READER, daemon=True)
        self._reader.start()
        while (batch := self._next()) is not None:
            yield batch.images, batch.outputs.result()
            del batch
        if self._error:
            raise self._error

    def stop(self) -> None:
        """End the threads; the reader ends with the next image of its source."""
        with self._room:
            self._stopped = True
            self._room.notify()
        self._pool.shutdown(cancel_futures=True)
        if self._reader:
            self._reader.join(JOIN)

    def _read(self, images: Iterator[T]) -> None:
        try:
            for image in images:
                self._let_in(image)
                del image  # or it is held until the source has its next one
                if self._stopped:
                    return
        except BaseException as error:  # raised where the answers are taken
            self._error = error
        finally:
            with self._news:
                self._ended = True
                self._news.notify()

    def _let_in(self, image: T) -> None:
        held = self._held_by(image)
        with self._room:
            while not (self._stopped or self._has_room(held)):
                self._room.wait()
            if self._stopped:
                return
            self._held += held
            self._unprepared += 1
            waiting = _Waiting(held)
            self._queue.append(waiting)
            self._pool.submit(self._work, waiting, image)

    def _work(self, waiting: _Waiting, image: T) -> None:
        """Prepare an image; what it raises is kept, for who takes the answers."""
        try:
            waiting.prepared = self._prepare(image)
        except BaseException as error:
            waiting.error = error
        self._note(waiting)

    def _has_room(self, held: int) -> bool:
        fits = self._held == 0 or self._held + held <= self._budget
        return fits and self._unprepared < UNPREPARED_PER_CORE * self._cores and len(self._queue) < MAX_IMAGES

    def _note(self, waiting: _Waiting) -> None:
        """Count the crops of a prepared image instead of the image."""
        with self._news:
            if self._stopped:
                return
            faces = waiting.prepared.faces if waiting.prepared else ()
            crops = sum([face.pixels.nbytes for face in faces])
            self._held += crops - waiting.held
            self._unprepared -= 1
            waiting.held, waiting.ready = crops, True
            self._ready_faces += len(faces)
            if self._unprepared <= UNPREPARED_PER_CORE * self._cores // 2:
                self._room.notify()  # not for every image: a thread that wakes takes time from the others
            starts = not self._batch and waiting is self._queue[0]
            if starts or not self._unprepared or self._faces + self._ready_faces >= self._batch_faces:
                self._news.notify()

    def _next(self) -> _Running | None:
        """The next batch whose outputs are there, in order; None after the last."""
        with self._news:
            while True:
                self._collect()
                self._room.notify()
                if self._closes():
                    self._start()
                elif self._running and self._running[0].outputs.done():
                    done = self._running.popleft()
                    self._held -= done.held
                    self._room.notify()
                    return done
                elif self._ended and not (self._queue or self._batch or self._running):
                    return None
                else:
                    self._news.wait(self._patience())

    def _collect(self) -> None:
        """Move prepared images from the queue into the next batch until it is full."""
        while self._queue and not self._full() and self._queue[0].ready:
            waiting = self._queue.popleft()
            self._batch_held += waiting.held
            image = waiting.prepared
            if image is None:
                self._error, self._ended, self._stopped = waiting.error, True, True
                self._queue.clear()
                return
            self._ready_faces -= len(image.faces)
            self._since = self._since if self._batch else time.monotonic()
            self._batch.append(image)
            self._faces += len(image.faces)

    def _full(self) -> bool:
        return self._faces >= self._batch_faces or len(self._batch) >= MAX_IMAGES

    def _closes(self) -> bool:
        """Whether the next batch may start: full, kept waiting, or all that the source has given."""
        if not self._batch or len(self._running) > self._cores:
            return False
        return self._full() or not self._queue or self._left() <= 0

    def _left(self) -> float:
        return self._since + MAX_WAIT - time.monotonic()

    def _patience(self) -> float | None:
        """Seconds until the next batch closes by itself."""
        waits = self._batch and len(self._running) <= self._cores
        return max(0.0, self._left()) if waits else None

    def _start(self) -> None:
        outputs = self._pool.submit(self._run_model, self._batch)
        self._running.append(_Running(self._batch, outputs, self._batch_held))
        self._batch, self._faces, self._batch_held = [], 0, 0
        outputs.add_done_callback(self._wake)

    def _wake(self, _: object) -> None:
        with self._news:
            self._news.notify()
