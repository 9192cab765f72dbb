"""A connection to a Ray cluster, or one of this machine's cores for the time of a command."""

import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from threeages.errors import ConfigError, DataError, MissingDependencyError, describe_cause
from threeages.processes import STOP_SIGNALS

EXTRA = "cluster"
ADDRESS = "RAY_ADDRESS"  # Ray's own variable: the address of the cluster to use
LOCAL = "local"
REACH_SECONDS = 10.0
SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers see the devices that the machine shows
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # a lost worker is no error: its images are answered again
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",  # as the processes of the local engine
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else it is said on stdout
}
PACKAGES = ("ray", "pyarrow", "pandas", "fsspec")


def import_ray() -> Any:
    """The module `ray` with its part for data, its usage statistics off.

    Raises MissingDependencyError where one of its packages is absent.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        package = (error.name or "ray").partition(".")[0]
        if package not in PACKAGES:
            raise
        raise MissingDependencyError(package, EXTRA) from error
    return ray


@contextmanager
def connect_ray(address: str | None = None, *, cores: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected for the block; a connection that is there already is used and kept.

    Args:
        address: `HOST:PORT` of the cluster's head, `auto` for the one on this machine, None for the one that
            the variable RAY_ADDRESS names. Without either a cluster of this machine's cores is started, and
            ended with the block; it has no dashboard, and a key of its own that no other program has.
        cores: How many cores the started cluster uses; None is all of them.

    Raises:
        ConfigError: The address is of a client's server, where data cannot be used.
        DataError: No cluster answers there, or none can be started.
    """
    found = _find_address(address)
    if found == LOCAL:
        _protect()
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, found, cores)
    try:
        yield ray
    finally:
        ray.shutdown()


def _find_address(address: str | None) -> str:
    found = address or os.environ.get(ADDRESS) or LOCAL
    if found.startswith("ray://"):
        raise ConfigError(
            f"The address {found} is that of Ray's client, which cannot run this.",
            hint="Start the command on a machine of the cluster with HOST:PORT of its head, or as a job: "
            "ray job submit -- threeages ...",
        )
    return found


def _connect(ray: Any, address: str, cores: int | None) -> None:
    given: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        given |= {"num_cpus": cores, "include_dashboard": False}
    try:
        _reach(address)
        with _keep_signals(), _hide_stderr():
            ray.init(**given)
    except (
        ConnectionError,
        RuntimeError,
        ValueError,
        TimeoutError,
        OSError,
        ray.exceptions.RayError,
    ) as error:
        what = "Ray does not start here" if address == LOCAL else f"No Ray cluster answers at {address}"
        raise DataError(
            f"{what}: {describe_cause(error)}.",
            hint="Check --address and RAY_ADDRESS; without both a cluster of this machine is started.",
        ) from error
    _quiet(ray)


def _reach(address: str) -> None:
    """Raise an error of the system where nothing listens at HOST:PORT: Ray would try for many minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


def _protect() -> None:
    """Choose the key of a cluster to come, before Ray is imported.

    Ray listens on every address of the machine. By itself it would write a key into the user's folder.
    """
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def _keep_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; the command ends in its own way."""
    caught = STOP_SIGNALS if current_thread() is main_thread() else ()
    before = {number: signal.getsignal(number) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _hide_stderr() -> Iterator[None]:
    """Ray's part in C++ writes there how its log is set up; what goes wrong is raised."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _quiet(ray: Any) -> None:
    """What Ray says of its own work would hide the progress of the command."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
