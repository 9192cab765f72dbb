"""Decoding and face detection in processes of their own, so that a hostile file can end only one of them."""

import io
import multiprocessing
import os
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from threeages.errors import ModelError
from threeages.faces.process import configure_process
from threeages.faces.yunet import YuNet
from threeages.inference.prepare import FacePreparer, PreparedImage
from threeages.processes import follow_parent
from threeages.server.settings import Settings
from threeages.signature import Signature

START_TIMEOUT = 120.0  # a cold start on a busy machine reads OpenCV and ONNX Runtime from disk


@dataclass(frozen=True)
class Job:
    """One image to prepare; `key` is its name inside the service, unique among those under way."""

    key: str
    data: bytes
    detect: bool = True


class Worker:
    """One process that prepares one image at a time; replaced when it dies or takes too long."""

    def __init__(self, signature: Signature, settings: Settings) -> None:
        self._signature, self._settings = signature, settings
        self.restarts = -1
        self._start()

    def prepare(self, job: Job) -> PreparedImage:
        """The faces of the image; blocks. Where the process dies or is too slow, the status is `corrupt`."""
        self._wait_until_ready()
        try:
            self._connection.send(job)
            if self._connection.poll(self._settings.image_timeout):
                prepared: PreparedImage = self._connection.recv()
                return prepared
            reason = f"Decoding it took longer than {self._settings.image_timeout:g} s."
        except (EOFError, OSError):
            reason = "Decoding it ended the decoder."
        self._restart()
        return PreparedImage(job.key, status="corrupt", message=f"{reason} Save the image again.")

    def stop(self) -> None:
        """End the process, even in the middle of an image."""
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_work,
            args=(theirs, self._signature, self._settings),
            daemon=True,
            name="threeages-decoder",
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
    """The workers of the settings, each driven by one of the `threads`."""

    def __init__(self, signature: Signature, settings: Settings) -> None:
        self._workers = [Worker(signature, settings) for _ in range(settings.workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self.threads = ThreadPoolExecutor(settings.workers, thread_name_prefix="decoder")

    @property
    def restarts(self) -> int:
        """Number of processes that had to be replaced."""
        return sum(worker.restarts for worker in self._workers)

    def prepare(self, job: Job) -> PreparedImage:
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


def _work(connection: Connection, signature: Signature, settings: Settings) -> None:
    """The process: prepare images until the service closes the pipe or dies. It opens no model."""
    configure_process()
    follow_parent()
    detector, max_pixels = YuNet(), settings.max_pixels
    preparers = {
        True: FacePreparer(signature, detector, max_pixels=max_pixels),
        False: FacePreparer(signature, None, max_pixels=max_pixels),
    }
    # run once, so that what OpenCV and ONNX Runtime load late is not counted as memory of an image
    preparers[True].prepare("", np.zeros((64, 64, 3), dtype=np.uint8))
    _limit_memory(settings.worker_memory)
    connection.send(True)
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(preparers[job.detect].prepare_any(job.key, job.data))


def _limit_memory(more: int) -> None:
    """Let this process add at most `more` bytes of address space; does something on Linux only."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
