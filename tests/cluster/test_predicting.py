import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import pytest

from threeages.cluster.answering import AnswerOptions
from threeages.cluster.predicting import predict_on_cluster
from threeages.data.manifest import load_manifest
from threeages.errors import ImageError
from threeages.files.checksums import checksum
from threeages.inference.predictor import load_predictor
from threeages.inference.records import Record
from threeages.inference.runtime import default_model_path
from threeages.inference.sources import Deferred, Source

pytestmark = pytest.mark.slow
MODEL = default_model_path()
OPTIONS = AnswerOptions(MODEL, checksum(MODEL), detect=False)


@dataclass(frozen=True)
class Slow(Deferred):
    """An image that takes its time."""

    path: Path

    def load(self) -> bytes | ImageError:
        time.sleep(0.02)
        return self.path.read_bytes()


@dataclass(frozen=True)
class KillsWorker(Deferred):
    """An image whose first reader sees the worker killed, as by the system when memory ends."""

    path: Path
    mark: Path

    def load(self) -> bytes | ImageError:
        worker = parent_process()
        if worker and worker.pid and not self.mark.exists():
            self.mark.touch()
            os.kill(worker.pid, signal.SIGKILL)
        return self.path.read_bytes()


@dataclass(frozen=True)
class Poison(Deferred):
    """An image that ends every process that reads it."""

    def load(self) -> bytes | ImageError:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""


def test_whatever_is_lost_every_image_is_answered_once_as_on_one_machine(
    cluster: Any, faces_csv: Path, tmp_path: Path
) -> None:
    """In one run a machine is killed in the middle, a worker is, and an image ends the process it is in."""
    import ray

    files = load_manifest(faces_csv).files()
    sources = [Source(f"{i:03}", Slow(files[i % len(files)])) for i in range(400)]
    sources[7] = Source("007", KillsWorker(files[7], tmp_path / "killed"))
    sources[300] = Source("300", Poison())
    found: list[list[Record]] = []
    for records in predict_on_cluster(ray, sources, OPTIONS):
        found.append(records)
        if len(found) == 100:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert (tmp_path / "killed").exists()
    assert sorted(records[0].path for records in found) == [source.name for source in sources]
    answers = {records[0].path: records for records in found}
    assert answers.pop("300")[0].status == "corrupt"
    expected = load_predictor(detect=False).predict_by_image(
        Source(source.name, files[int(source.name) % len(files)])
        for source in sources
        if source.name != "300"
    )
    for records in expected:
        assert answers[records[0].path] == records
