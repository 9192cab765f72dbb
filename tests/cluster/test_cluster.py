"""What Ray runs, on one cluster: images and trials, while machines, workers and drivers are lost."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import psutil
import pytest

from threeages.cli.main import main
from threeages.cluster.answering import AnswerOptions
from threeages.cluster.predicting import predict_on_cluster
from threeages.data.manifest import load_manifest
from threeages.errors import ImageError, ModelError
from threeages.files.arrow import import_arrow
from threeages.files.checksums import checksum
from threeages.inference.predictor import load_predictor
from threeages.inference.records import Record
from threeages.inference.runtime import default_model_path
from threeages.inference.sources import Deferred, Source
from threeages.training.config import TrainConfig

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


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["threeages", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_writes_the_rows_of_the_local_engine(
    cluster: Any,
    faces_dir: Path,
    bad_images: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A folder, a tar, a parquet of bytes, a list of addresses and of what cannot be read; and resumed."""
    pyarrow, parquet = import_arrow()
    files = sorted(faces_dir.glob("*.jpg"))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for file in files[:3]:
            tar.add(file, file.name)
    table = pyarrow.table({"image": [file.read_bytes() for file in files[3:6]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    listed = [f"file://{files[7]}", *map(str, bad_images.values()), f"file://{tmp_path}/none.jpg"]
    (tmp_path / "l.txt").write_text("\n".join(listed))
    monkeypatch.chdir(faces_dir.parent)
    inputs = [f"{tmp_path}/a.tar", f"{tmp_path}/a.parquet", f"file://{tmp_path}/l.txt", faces_dir.name]
    local, clustered = tmp_path / "local.csv", tmp_path / "cluster.csv"
    assert _run(monkeypatch, "predict", *inputs, "--no-detect", "--out", local) == 1
    assert (
        _run(monkeypatch, "predict", *inputs[:2], "--no-detect", "--out", clustered, "--engine", "ray") == 0
    )
    again = ("predict", *inputs, "--no-detect", "--out", clustered, "--engine", "ray", "--resume")
    assert _run(monkeypatch, *again) == 1
    assert sorted(clustered.read_text().splitlines()) == sorted(local.read_text().splitlines())


def test_a_machine_with_another_model_ends_the_job(cluster: Any) -> None:
    import ray

    with pytest.raises(ModelError, match="of a worker is another"):
        list(predict_on_cluster(ray, [Source("a", Path("a.jpg"))], replace(OPTIONS, digest="another")))


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


def test_trials_on_a_cluster_are_those_of_the_pool(cluster: Any, faces_csv: Path, tmp_path: Path) -> None:
    """The worker of a trial is killed; a trial is at its last saved epoch when another one takes it."""
    torch = pytest.importorskip("torch")
    from threeages.studies.tune import Search, run_search, run_trial
    from threeages.training.build import open_data

    base = TrainConfig(input_size=80, epochs=2, batch_size=64, seed=1, precision="32-true")
    small = ((4, 36),) * 4
    search = Search(load_manifest(faces_csv), tmp_path / "search", base, 2, 2, tmp_path / "cache", small)
    killer = threading.Thread(target=_kill_a_trial, args=(search.out,))
    killer.start()
    run_search(replace(search, on_ray=True))
    killer.join()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    other = replace(search, out=tmp_path / "other")
    images = open_data(search.manifest, base, search.cache_dir)
    expected = [run_trial(other, number, (), images) for number in range(2)]
    torch.set_num_threads(threads)
    lines = (search.out / "search.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == [str(trial.value) for trial in expected]


def test_after_sigkill_of_the_driver_every_image_has_one_row(
    cluster: Any, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, images = tmp_path / "out.jsonl", tmp_path / "images"
    images.mkdir()
    for i, file in enumerate(sorted(faces_dir.glob("*.jpg")) * 5):
        (images / f"{i}.jpg").symlink_to(file)
    command = ["predict", str(images), "--no-detect", "--out", str(out), "--engine", "ray", "--resume"]
    driver = subprocess.Popen([sys.executable, "-m", "threeages", *command, "--address", cluster.address])
    while driver.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    before = out.read_text().count("\n")
    assert _run(monkeypatch, *command) == 0
    names = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert before < len(names) == len(set(names)) == len(list(images.iterdir()))


def _kill_a_trial(out: Path) -> None:
    """Kill a worker of this process's cluster once the training of a trial has begun."""
    while not list(out.glob("trial-*")):
        time.sleep(0.01)
    workers = psutil.Process().children(recursive=True)
    next(worker for worker in workers if worker.cmdline()[:1] == ["ray::_work"]).kill()
