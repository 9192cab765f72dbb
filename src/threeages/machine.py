"""Where a number was measured: the machine in words, the commit of the sources, versions of packages."""

import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# packages of which any one will do: builds of the same library, in the same folder
OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def describe_machine() -> str:
    """Processor and cores this process may use, such as 'AMD EPYC, 2 cores'."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores"


def describe_commit(package: Path = PACKAGE) -> str:
    """Short hash of the commit the package's sources come from, such as '3e78ea4'.

    A '+' follows where files of the package differ from that commit. The result is '' where git does not
    track the package, such as in a wheel installed inside some other checkout.
    """
    if not _git(package, "ls-files", "--", "*.py"):
        return ""
    changed = _git(package, "status", "--porcelain", "--", ".")
    return _git(package, "rev-parse", "--short", "HEAD") + ("+" if changed else "")


def list_versions(names: Iterable[str]) -> dict[str, str]:
    """Version of each of the packages that is installed."""
    from importlib.metadata import PackageNotFoundError, version  # 50 ms

    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git(folder: Path, *args: str) -> str:
    """What git prints in a folder; '' where it fails or is absent. It writes nothing, not even its index."""
    reading = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *args], cwd=folder, env=reading, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:  # Linux: platform knows no more than the architecture there
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
