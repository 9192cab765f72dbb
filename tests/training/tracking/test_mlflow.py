"""A real MLflow server on a free port, started once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from threeages.cli.main import app
from threeages.errors import DataError
from threeages.training.tracking.mlflow import MlflowTracker
from threeages.training.tracking.tracking import open_tracking

pytest.importorskip("mlflow")
for needed in ("flask", "flask_cors", "graphene", "sqlalchemy", "alembic"):
    pytest.importorskip(needed, reason=f"the MLflow server needs {needed}")
pytestmark = pytest.mark.slow

TRAIN = ("--recipe", "reference-cnn", "--input-size", "48", "--split", "identity", "--epochs", "2")
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_FILE_STORE": "true"}


class Server:
    """A server with its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        # files: a database takes the server four times as long to start
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", str(self.folder / "runs")]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | SETTINGS, start_new_session=True
            )
        for _ in range(600):
            if self._is_up():
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _is_up(self) -> bool:
        try:
            with urlopen(f"{self.address}/health", timeout=5):
                return True
        except (URLError, OSError):
            return False

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("mlflow"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # a busy machine is no server that is away
        server.start()
        yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.address)


def _train(manifest: Path, out: Path, server: Server, *more: str) -> Any:
    from typer.testing import CliRunner

    arguments = ["train", str(manifest), "--out", str(out), "--cache-dir", str(out.parent / "cache"), *TRAIN]
    arguments += ["--track", "mlflow", "--tracking-uri", server.address, *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def _find_runs(client: Any, name: str) -> list[Any]:
    experiment = client.get_experiment_by_name("threeages")
    found: list[Any] = client.search_runs([experiment.experiment_id])
    return [run for run in found if run.info.run_name == name]


def _steps(client: Any, run: Any, metric: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run.info.run_id, metric)]


def test_a_training_that_is_stopped_and_resumed_is_one_run(
    faces_csv: Path, tmp_path: Path, server: Server, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    monkeypatch.setattr("threeages.training.run._plot_history", _stop)
    with pytest.raises(RuntimeError):
        _train(faces_csv, out, server)
    (run,) = _find_runs(client, "stopped")
    assert run.info.status == "KILLED"
    monkeypatch.undo()
    result = _train(faces_csv, out, server)
    assert result.exit_code == 0
    assert "View run" in result.stderr
    assert "View run" not in result.stdout
    (run,) = _find_runs(client, "stopped")
    assert run.info.status == "FINISHED"
    assert json.loads((out / "tracking.json").read_text())["content"]["mlflow"]["run_id"] == run.info.run_id
    assert _steps(client, run, "val_accuracy") == [1, 2]
    held = json.loads((out / "config.json").read_text())
    assert run.data.params["lr"] == str(held["config"]["lr"])
    assert run.data.params["split.train"] == str(held["split"]["train"])
    metrics = json.loads((out / "metrics.json").read_text())
    assert run.data.metrics["test_accuracy"] == metrics["accuracy"]
    # nothing of the user's but what was asked for
    assert run.data.tags == {"mlflow.runName": "stopped", "threeages.run_folder": str(out)}
    assert run.info.user_id in {"", "unknown"}


def _stop(*_: object) -> None:
    raise RuntimeError


def test_a_server_that_stops_in_the_middle_costs_no_epoch(
    faces_csv: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "alone"
    log = MlflowTracker.log

    def stop_first(self: MlflowTracker, metrics: Any, epoch: int) -> None:
        if epoch == 2:
            server.stop()
        log(self, metrics, epoch)

    monkeypatch.setattr(MlflowTracker, "log", stop_first)
    result = _train(faces_csv, out, server)
    assert result.exit_code == 0
    assert result.stderr.count("does not take the metrics") == 1
    assert len((out / "metrics.csv").read_text().splitlines()) == 3
    assert (out / "report.html").exists()


def test_a_server_that_is_away_is_an_error_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"MLflow at http://127\.0\.0\.1:9 does not take the metrics: Connection refused"
    ) as error:
        open_tracking(["mlflow"], tmp_path, "http://user:secret@127.0.0.1:9").start(tmp_path, {}, {}, [])
    assert "secret" not in str(error.value)
