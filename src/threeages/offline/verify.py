"""Prove that a bundle installs and answers without an index, in a fresh environment that is removed again."""

import subprocess
import sys
import tempfile
from pathlib import Path

from threeages.errors import DataError
from threeages.offline import install

LINES = 8  # of what the installer said that a message quotes


def verify_bundle(folder: Path) -> None:
    """Run the bundle's own installer, whose last step is the doctor's self-test.

    Raises DataError, which quotes it, where it fails.
    """
    with tempfile.TemporaryDirectory(prefix="threeages-bundle-") as name:
        command = [
            sys.executable,
            "-I",
            str(folder.absolute() / Path(install.__file__).name),
            str(Path(name) / "env"),
        ]
        done = subprocess.run(
            command, cwd=name, capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "  ok  " not in line]
        raise DataError(
            "The bundle does not install or does not answer:\n" + "\n".join(said[-LINES:]),
            hint="threeages bundle --no-verify keeps it for a look.",
        )
