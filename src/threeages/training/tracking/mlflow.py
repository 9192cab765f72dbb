"""MLflow: a run on the server that the user names, by its plain client.

The client, unlike MLflow's own functions, adds no tags about the user, the program or its git repository.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from threeages.errors import ConfigError, MissingDependencyError
from threeages.training.tracking.tracker import Description

ADDRESS, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "threeages"
FOLDER_TAG = "threeages.run_folder"
# seconds and tries that a request may take unless the user says so: a training waits meanwhile
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
AT_ONCE = 100  # parameters in a request, by MLflow's interface
LONGEST = 500  # characters of a parameter, which every version takes
T = TypeVar("T")


class MlflowTracker:
    """Writes to the MLflow server at an address, MLFLOW_TRACKING_URI where none is given.

    The experiment is MLFLOW_EXPERIMENT_NAME or `threeages`. Nothing is sent before a run is created. Raises
    ConfigError where there is no address, and MissingDependencyError where MLflow is not installed.
    """

    title = "MLflow"

    def __init__(self, address: str | None = None) -> None:
        self._address = address or os.environ.get(ADDRESS) or ""
        if not self._address:
            raise ConfigError(
                "There is no address of an MLflow server.",
                hint=f"Give --tracking-uri ADDRESS, or set {ADDRESS}.",
            )
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingDependencyError("mlflow", "mlflow") from error
        self._client: Any = MlflowClient(tracking_uri=self._address)
        self._run = ""

    @property
    def place(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self._address)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def create_run(self, about: Description) -> str:
        """Create a run named as the folder."""
        run = self._client.create_run(self._find_experiment(), run_name=about.name)
        return str(run.info.run_id)

    def open_run(self, run_id: str, about: Description) -> None:
        """Set the run to running again; its parameters never differ, as a folder has one configuration."""
        self._client.update_run(run_id, status="RUNNING")
        self._client.set_tag(run_id, FOLDER_TAG, str(about.folder))
        self._run = run_id
        self._log_parameters(about.values)

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send the metrics in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, metrics=[Metric(name, value, now, epoch) for name, value in metrics.items()]
        )

    def close(self, *, finished: bool) -> None:
        """Say on the server how the training ended."""
        if self._run:
            with redirect_stdout(sys.stderr):  # the client prints where the run can be seen
                self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _find_experiment(self) -> str:
        name = os.environ.get(EXPERIMENT) or DEFAULT_EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _log_parameters(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in values.items()]
        for part in _split(params, AT_ONCE):
            self._client.log_batch(self._run, params=part)


def _split(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
