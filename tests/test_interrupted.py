"""What is killed leaves nothing that breaks the next start: kill -9 gives no chance to tidy up."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from threeages.data.cache import open_cache
from threeages.data.manifest import load_manifest

ROOT = Path(__file__).parents[1]

BUILD = """
import os, signal, sys
from pathlib import Path
from threeages.data import cache
from threeages.data.manifest import load_manifest
left = iter(range(50))
create_copy = cache.create_copy
def stop(*args, **kwargs):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return create_copy(*args, **kwargs)
cache.create_copy = stop
cache.open_cache(load_manifest(Path(sys.argv[1])), 32, folder=Path(sys.argv[2]), workers=1)
"""

TRAIN = """
import sys
from pathlib import Path
from threeages.training.config import TrainConfig
from threeages.data.manifest import load_manifest
from threeages.training.run import run_training
config = TrainConfig(input_size=64, epochs=3, batch_size=16)
run_training(load_manifest(Path(sys.argv[1])), config, Path(sys.argv[2]), cache_dir=Path(sys.argv[3]))
"""


def _start(code: str, *args: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_cache_build_is_built_again(faces_csv: Path, tmp_path: Path) -> None:
    assert _start(BUILD, faces_csv, tmp_path / "cache").wait(120) == -signal.SIGKILL
    left = list((tmp_path / "cache").glob("*-*"))
    assert [p.suffix for p in left] == [".part"]
    manifest = load_manifest(faces_csv)
    found = open_cache(manifest, 32, folder=tmp_path / "cache")
    expected = open_cache(manifest, 32, folder=tmp_path / "other")
    assert (found.pixels == expected.pixels).all()
    assert not found.failed


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_training_resumes_to_the_same_metrics(faces_csv: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "killed" / "metrics.csv"
    process = _start(TRAIN, faces_csv, metrics.parent, tmp_path / "cache")
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert len(_rows(metrics)) < 3, "it ended before it could be killed"
    for run in (metrics.parent, tmp_path / "whole"):
        assert _start(TRAIN, faces_csv, run, tmp_path / "cache").wait(240) == 0
    for found, expected in zip(_rows(metrics), _rows(tmp_path / "whole" / "metrics.csv"), strict=True):
        assert float(found["train_loss"]) == pytest.approx(float(expected["train_loss"]), rel=1e-3)
        assert float(found["val_loss"]) == pytest.approx(float(expected["val_loss"]), rel=1e-3)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
