import os
import re
import subprocess
from pathlib import Path

from threeages.machine import describe_commit, describe_machine


def test_processor_and_cores_are_named() -> None:
    processor, cores = describe_machine().rsplit(", ", 1)
    assert processor
    assert 1 <= int(cores.removesuffix(" cores")) <= (os.cpu_count() or 1)


def _git(folder: Path, *args: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


def test_commit_is_the_one_of_the_sources_and_says_where_they_differ(tmp_path: Path) -> None:
    package = tmp_path / "src"
    package.mkdir()
    (package / "a.py").write_text("x = 1\n")
    assert describe_commit(package) == ""
    _git(tmp_path, "init", "--quiet")
    assert describe_commit(package) == ""  # not tracked yet
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    commit = describe_commit(package)
    assert re.fullmatch(r"[0-9a-f]{7,}", commit)
    (tmp_path / "results.csv").write_text("not a source\n")
    assert describe_commit(package) == commit
    (package / "a.py").write_text("x = 2\n")
    assert describe_commit(package) == f"{commit}+"
