"""pip, as the user has configured it, in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from threeages.errors import DataError, describe_cause

LINES = 3  # of pip's errors that a message quotes
HINT = "pip's configuration must name an index that has it: pip config list shows it."


def build_wheels(requirements: Sequence[str], folder: Path, *options: str) -> None:
    """Write wheels of requirements into a folder; those that an index has as sources alone are built.

    `options` are further ones of `pip wheel`. Raises DataError, which quotes pip, where it fails.
    """
    if not find_spec("pip"):
        raise DataError("This environment has no pip.", hint="Run: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--wheel-dir", str(folder), *options, *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise DataError(f"pip cannot be started: {describe_cause(error)}.") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = " ".join(line.removeprefix("ERROR: ") for line in lines[:LINES]) or done.stderr.strip()
        raise DataError(f"pip cannot get the wheels: {describe_cause(said)}.", hint=HINT)
