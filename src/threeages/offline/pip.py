"""pip, as the user has configured it, in a process of its own."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from threeages.errors import DataError, describe_cause
from threeages.files.disk import full_disk_error

LINES = 3  # of pip's errors that a message quotes
HINT = "pip's configuration must name an index that has it: pip config list shows it."


def build_wheels(requirements: Sequence[str], folder: Path, *options: str) -> None:
    """Write wheels of requirements into a folder; those that an index has as sources alone are built.

    `options` are further ones of `pip wheel`. Raises DataError, which quotes pip, where it fails.
    """
    if not find_spec("pip"):
        raise DataError("This environment has no pip.", hint="Get it with python -m ensurepip.")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--wheel-dir", str(folder), *options, *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise DataError(
            f"pip cannot be started: {describe_cause(error)}.", hint="See that python -m pip works."
        ) from error
    if done.returncode:
        raise _explain(done.stderr, folder)


def _explain(said: str, folder: Path) -> DataError:
    """What a user is told of a pip that failed."""
    if os.strerror(errno.ENOSPC) in said:
        temporary = Path(tempfile.gettempdir())  # where pip builds and unpacks
        return full_disk_error(min(folder / "wheel", temporary / "wheel", key=_measure_room))
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    text = describe_cause(" ".join(lines[:LINES]) or said)
    return DataError(f"pip cannot get the wheels: {text}.", hint=HINT)


def _measure_room(path: Path) -> int:
    return shutil.disk_usage(path.parent).free
