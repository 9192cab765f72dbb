"""An installation that was killed is done again by the next `make`; for commands see test_kills.py."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("make") or os.name == "nt", reason="make is not installed")
@pytest.mark.parametrize("stage", ["no pip yet", "packages"])
def test_a_killed_installation_is_done_again(stage: str, tmp_path: Path) -> None:
    """A stand-in for Python notes what it is asked for, and fails once as an interrupted one does."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    stand_in = tmp_path / "python"
    stand_in.write_text(
        "#!/bin/sh\n"
        'echo "$@" >> calls\n'
        'case "$*" in\n'
        '  "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/pip;;\n'
        '  "-m pip --version") test -e .venv/pip;;\n'
        '  *"[dev]"*) test -e once || { touch once; exit 1; };;\n'
        "esac\n"
    )
    stand_in.chmod(0o755)
    if stage == "no pip yet":
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        shutil.copy(stand_in, tmp_path / ".venv" / "bin")
        (tmp_path / "once").touch()
    else:
        assert _make(tmp_path) != 0
        assert not (tmp_path / ".venv" / "installed").exists()
    (tmp_path / "calls").unlink(missing_ok=True)
    assert _make(tmp_path) == 0
    calls = (tmp_path / "calls").read_text()
    assert ("-m venv" in calls) == (stage == "no pip yet")
    assert "[dev]" in calls
    assert (tmp_path / ".venv" / "installed").exists()


def _make(folder: Path) -> int:
    command = ["make", ".venv/installed", "PYTHON=./python"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode
