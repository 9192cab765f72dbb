"""Install a wheel into a fresh environment and answer a portrait with it.

    python tools/check_wheel.py dist/threeages-0.1.0-py3-none-any.whl

The environment gets the wheel and its own dependencies from the configured index, nothing of this one; torch
must not be among them. The portrait is one of those that matplotlib and scikit-image ship.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from threeages.demo import find_portraits


def main() -> None:
    """Check the wheel that the command line names."""
    wheel = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        record = answer_portrait(wheel, find_portraits()[0], Path(name))
    print(f"{wheel.name} in a fresh environment: {record['status']} {record['age_group']}")


def answer_portrait(wheel: Path, portrait: Path, folder: Path) -> dict[str, object]:
    """The record of one portrait, from an environment made in an empty folder; stops where it has none."""
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, folder=folder)
    found = _run(python, "-c", "import importlib.util as u; print(u.find_spec('torch'))", folder=folder)
    if found.strip() != "None":
        raise SystemExit("The wheel's dependencies bring torch.")
    said = _run(programs / "threeages", "predict", "--jsonl", portrait, folder=folder)
    record: dict[str, object] = json.loads(said.splitlines()[0])
    if record["status"] != "ok":
        raise SystemExit(f"The wheel does not answer {portrait.name}: {record}")
    return record


def _run(*command: str | Path, folder: Path) -> str:
    """What a command prints, run in the folder and without this environment's PYTHONPATH."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=clean, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed.")
    return done.stdout


if __name__ == "__main__":
    main()
