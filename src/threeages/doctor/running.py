"""Checks, each run so that its failure is a finding and ends nothing else."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

from threeages.doctor.findings import Finding, hide_home
from threeages.errors import ThreeAgesError, describe_cause

CHILD = "threeages.doctor.child"
TIMEOUT = 300  # seconds for a check in a process of its own: a busy machine loads torch for minutes
LAST_LINES = 3  # of what a process that ended badly said

Check = Callable[[], Iterable[Finding]]


@dataclass(frozen=True)
class Listed:
    """A check by its module and function, so that none is imported before it runs.

    One that loads compiled libraries runs `apart`, in a process of its own: a library that was built for
    another processor ends its process without an exception.
    """

    name: str
    module: str
    function: str
    apart: bool = False

    def load(self) -> Check:
        """The function itself."""
        check: Check = getattr(import_module(self.module), self.function)
        return check


def run_check(listed: Listed) -> list[Finding]:
    """The findings of a check; one that says so where it failed itself. Raises nothing."""
    can_start = sys.executable and not hasattr(sys, "frozen")  # a program that was packed would start itself
    return _run_apart(listed) if listed.apart and can_start else run_here(listed)


def run_here(listed: Listed) -> list[Finding]:
    """The findings of a check that is run in this process. Raises nothing."""
    try:
        return list(listed.load()())
    except ThreeAgesError as error:
        return [Finding(listed.name, "fault", hide_home(error.message), hide_home(error.hint))]
    except ImportError as error:
        cause = hide_home(describe_cause(error))
        advice = "Install it again: pip install --force-reinstall threeages"
        return [Finding(listed.name, "fault", f"A library cannot be loaded: {cause}.", advice)]
    except (Exception, SystemExit) as error:
        return [_failed(listed, ": ".join((type(error).__name__, describe_cause(error))))]


def _run_apart(listed: Listed) -> list[Finding]:
    """The findings of a check in a process of its own, which may end in any way."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-B", "-m", CHILD, listed.name, listed.module, listed.function]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Finding(listed.name, "fault", f"It gave no answer within {TIMEOUT} seconds.")]
    except (OSError, ValueError) as error:
        return [_failed(listed, ": ".join((type(error).__name__, describe_cause(error))))]
    try:
        *_, last = done.stdout.decode(errors="replace").splitlines()
        return [Finding.from_dict(raw) for raw in json.loads(last)]
    except (ValueError, TypeError):
        return [_describe_end(listed, done)]


def _describe_end(listed: Listed, done: subprocess.CompletedProcess[bytes]) -> Finding:
    """What is known of a process that ended without findings."""
    said = " ".join(done.stderr.decode(errors="replace").split("\n")[-LAST_LINES - 1 :])
    said = hide_home(describe_cause(said)) if said.strip() else "it said nothing"
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    advice = "A library may be built for another processor, or be damaged: install threeages again."
    return Finding(listed.name, "fault", f"The process of this check ended by {how}: {said}.", advice)


def _failed(listed: Listed, cause: str) -> Finding:
    return Finding(listed.name, "warning", f"Not checked: {hide_home(cause)}.")
