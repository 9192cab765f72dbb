import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.server.settings import MIB, Settings
from threeages.server.workers import Job, Worker, WorkerPool

SIGNATURE = OnnxModel(default_model_path()).signature


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(SIGNATURE, Settings(worker_memory=400 * MIB))
    yield worker
    worker.stop()


def _picture(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_a_dead_decoder_costs_one_image(worker: Worker, portrait: Path) -> None:
    assert worker.prepare(Job("a", portrait.read_bytes())).status == "ok"
    before, pid = worker.restarts, worker._process.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    worker._process.join()
    lost = worker.prepare(Job("b", portrait.read_bytes()))
    assert (lost.path, lost.status) == ("b", "corrupt")
    assert worker.prepare(Job("c", portrait.read_bytes())).status == "ok"
    assert worker.restarts == before + 1


def test_signals_to_the_group_end_no_decoder(worker: Worker, portrait: Path) -> None:
    worker.prepare(Job("a", b""))
    pid = worker._process.pid
    assert pid
    for sig in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, sig)
    assert worker.prepare(Job("b", portrait.read_bytes())).status == "ok"
    assert worker._process.pid == pid


def test_memory_is_bounded(worker: Worker, portrait: Path) -> None:
    before = worker.restarts
    found = worker.prepare(Job("bomb", _picture(12_000, 4_000)))  # 1.2 times the memory it may add
    assert found.status == "corrupt"
    assert worker.prepare(Job("b", portrait.read_bytes())).status == "ok"
    assert worker.restarts == before


def test_a_decoder_that_takes_too_long_is_replaced(portrait: Path) -> None:
    worker = Worker(SIGNATURE, Settings(image_timeout=1e-4))
    try:
        found = worker.prepare(Job("slow", portrait.read_bytes()))
    finally:
        worker.stop()
    assert found.status == "corrupt"
    assert "longer than" in found.message
    assert worker.restarts == 1


def test_a_pool_serves_as_many_as_it_has(portrait: Path) -> None:
    pool = WorkerPool(SIGNATURE, Settings(workers=2))
    try:
        pool.warm_up()
        jobs = [Job(str(i), portrait.read_bytes()) for i in range(4)]
        found = list(pool.threads.map(pool.prepare, jobs))
    finally:
        pool.stop()
    assert [p.path for p in found] == ["0", "1", "2", "3"]
    size = SIGNATURE.input_size
    assert {p.faces[0].pixels.shape for p in found} == {(size, size, 3)}
    assert pool.restarts == 0


def test_a_decoder_cannot_open_a_model() -> None:
    # it is given the signature, and does not even import what opens models
    code = (
        "import sys; import threeages.server.workers; "
        "print(*[m for m in sys.modules if m == 'threeages.inference.runtime'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
