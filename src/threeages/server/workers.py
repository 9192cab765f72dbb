"""Decoding and face detection in processes of their own, so that a hostile file can end only one of them."""

import io
import multiprocessing
import os
import queue
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from threeages.errors import ModelError
from threeages.faces import images
from threeages.faces.process import configure_process
from threeages.faces.yunet import YuNet
from threeages.inference.predictor import Predictor, Prepared
from threeages.inference.runtime import OnnxModel
from threeages.server.settings import Settings

START_TIMEOUT = 120.0  # a cold start on a busy machine reads OpenCV and ONNX Runtime from disk


@dataclass(frozen=True)
class Job:
    """One image to prepare; `key` names it until its answer is there."""

    key: str
    data: bytes
    detect: bool = True


class Worker:
    """One process that prepares one image at a time; replaced when it dies or takes too long."""

    def __init__(self, model: Path, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self.restarts = -1
        self._start()

    def prepare(self, job: Job) -> Prepared:
        """Crops of the image's faces, or the status that says why there are none; blocks."""
        self._wait_until_ready()
        try:
            self._connection.send(job)
            if self._connection.poll(self._settings.image_timeout):
                prepared: Prepared = self._connection.recv()
                return prepared
            reason = f"Decoding it took longer than {self._settings.image_timeout:g} s."
        except (EOFError, OSError):
            reason = "Decoding it ended the decoder."
        self._restart()
        return Prepared(job.key, status="corrupt", message=f"{reason} Save the image again.")

    def stop(self) -> None:
        """End the process, which may be in the middle of an image."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, self._model, self._settings), daemon=True, name="threeages-decoder"
        )
        self._process.start()
        theirs.close()
        self._ready = False
        self.restarts += 1

    def _restart(self) -> None:
        self.stop()
        self._start()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            self._ready = self._connection.poll(START_TIMEOUT) and self._connection.recv()
        except (EOFError, OSError):
            self._ready = False
        if not self._ready:
            self._restart()
            raise ModelError("A decoding process did not start.", hint="Is there enough memory?")


class WorkerPool:
    """As many workers as settings say, each driven by a thread of `threads`."""

    def __init__(self, model: Path, settings: Settings) -> None:
        self._workers = [Worker(model, settings) for _ in range(settings.workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self.threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="decoder")

    @property
    def restarts(self) -> int:
        """How many processes had to be replaced."""
        return sum(worker.restarts for worker in self._workers)

    def prepare(self, job: Job) -> Prepared:
        """Hand the job to an idle worker and wait for it; call it from `threads`."""
        worker = self._idle.get()
        try:
            return worker.prepare(job)
        finally:
            self._idle.put(worker)

    def warm_up(self) -> None:
        """Return when every worker has answered one image."""
        blank = io.BytesIO()
        Image.new("RGB", (64, 64)).save(blank, "BMP")
        jobs = [Job("warm-up", blank.getvalue())] * len(self._workers)
        for worker, job in zip(self._workers, jobs, strict=True):
            worker.prepare(job)

    def stop(self) -> None:
        """End every process."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.stop()


def _work(connection: Connection, path: Path, settings: Settings) -> None:
    """The process: prepare what comes until the service closes the pipe or dies."""
    configure_process()
    for sig in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group by ^C; the service ends us itself
        signal.signal(sig, signal.SIG_IGN)
    images.MAX_PIXELS = (
        settings.max_pixels
    )  # of this process; checked before decoding, in the library's words
    model = OnnxModel(path, threads=1)
    predictors = {True: Predictor(model, YuNet()), False: Predictor(model, None)}
    predictors[True].prepare("", np.zeros((64, 64, 3), dtype=np.uint8))  # what is loaded late counts as base
    _limit_memory(settings.worker_memory)
    connection.send(True)
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_prepare(predictors[job.detect], job))


def _prepare(predictor: Predictor, job: Job) -> Prepared:
    try:
        return predictor.prepare(job.key, job.data)
    except (MemoryError, Exception) as error:  # OpenCV raises its own class where memory ends
        message = f"The image cannot be used: {type(error).__name__}. Save it again."
        return Prepared(job.key, status="corrupt", message=message)


def _limit_memory(more: int) -> None:
    """Let this process add `more` bytes of address space to what it has; Linux only."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
