"""A bundle holds what it should, is whole or not there, and installs without any index."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from threeages.distribution import list_installed, list_requirements
from threeages.errors import DataError, ModelError
from threeages.inference.named import LargeModel
from threeages.offline import bundle, pip
from threeages.offline.own_wheel import pack_installed
from threeages.offline.verify import verify_bundle


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Empty wheels in place of real ones; what pip was asked for, with its constraints."""
    said: list[str] = []

    def write_own(folder: Path) -> Path:
        (folder / "threeages-0.9-py3-none-any.whl").write_bytes(b"own")
        return folder / "threeages-0.9-py3-none-any.whl"

    def build(requirements: list[str], folder: Path, *options: str) -> None:
        (folder / "leaf-1.0-py3-none-any.whl").write_bytes(b"leaf")
        said.extend([*requirements, Path(options[1]).read_text(encoding="utf-8")])

    monkeypatch.setattr(bundle, "write_own_wheel", write_own)
    monkeypatch.setattr(bundle, "build_wheels", build)
    return said


def test_a_bundle_has_wheels_installer_checksums_and_a_readme(asked: list[str], tmp_path: Path) -> None:
    bundle.create_bundle(tmp_path / "deep" / "out", extras=["serve", "heif"], verify=False)
    out = tmp_path / "deep" / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    wheels = {"wheels/threeages-0.9-py3-none-any.whl", "wheels/leaf-1.0-py3-none-any.whl"}
    assert files == wheels | {"README.md", "SHA256SUMS", "bundle.json", "install.py"}
    sums = dict(
        line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    assert sums.keys() == files - {"SHA256SUMS"}
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == value for name, value in sums.items())
    about = json.loads((out / "bundle.json").read_text(encoding="utf-8"))
    assert about["requirement"] == "threeages[serve,heif]==0.9"
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "threeages 0.9, without network" in readme
    assert "with serve, heif" in readme
    assert "{" not in readme
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_pip_is_asked_for_the_versions_that_are_installed(asked: list[str], tmp_path: Path) -> None:
    bundle.create_bundle(tmp_path / "out", extras=["serve"], verify=False)
    requirement, constraints = asked
    assert requirement.startswith("threeages[serve] @ file:///")
    assert f"numpy=={list_installed()['numpy']}\n" in constraints
    assert "threeages==" not in constraints


def test_the_large_model_is_added_where_it_was_fetched(
    asked: list[str], large_model: LargeModel, encoder_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="not fetched"):
        bundle.create_bundle(tmp_path / "out", large=True, verify=False)
    assert not (tmp_path / "out").exists()
    path = large_model.fetch(encoder_file)
    bundle.create_bundle(tmp_path / "out", large=True, verify=False)
    assert (tmp_path / "out" / "models" / path.name).read_bytes() == path.read_bytes()
    assert path.name in (tmp_path / "out" / "SHA256SUMS").read_text(encoding="utf-8")


def test_a_bundle_that_fails_leaves_nothing(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DataError("pip cannot get the wheels.")

    monkeypatch.setattr(bundle, "build_wheels", fail)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="pip cannot"):
        bundle.create_bundle(tmp_path / "out", verify=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_bundle_that_does_not_install_takes_no_name(asked: list[str], tmp_path: Path) -> None:
    """The wheels of the stand-in are empty; the installer's own words are quoted."""
    with pytest.raises(DataError, match="does not install") as raised:
        bundle.create_bundle(tmp_path / "out")
    assert "pip could not install the bundle" in raised.value.message
    assert "--no-verify" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_pip_says_is_quoted_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match="no-such-package") as raised:
        pip.build_wheels(["no-such-package==1.0"], tmp_path)
    assert "pip config list" in raised.value.hint
    monkeypatch.setattr(pip, "find_spec", lambda _: None)
    with pytest.raises(DataError, match="has no pip") as raised:
        pip.build_wheels(["numpy"], tmp_path)
    assert "ensurepip" in raised.value.hint


@pytest.mark.parametrize("full", ["bundle", "temporary"])
def test_a_disk_that_is_full_is_named(full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: tmp_path / name for name in ("bundle", "temporary")}
    for folder in folders.values():
        folder.mkdir()
    said = f"ERROR: Could not build wheels: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}\n"
    ended = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(pip.subprocess, "run", lambda *_, **__: ended)
    monkeypatch.setattr(pip.tempfile, "gettempdir", lambda: str(folders["temporary"]))
    monkeypatch.setattr(pip, "_measure_room", lambda path: 0 if path.parent == folders[full] else 10**9)
    with pytest.raises(DataError, match="the disk is full") as raised:
        pip.build_wheels(["numpy"], folders["bundle"])
    assert str(folders[full]) in raised.value.message


def _list_needed() -> set[str]:
    """The distributions that the package needs here, directly or not."""
    waiting, found = ["threeages", "packaging", "filelock"], set()
    while waiting:
        for requirement in list_requirements(waiting.pop()):
            if requirement.name not in found:
                found.add(requirement.name)
                waiting.append(requirement.name)
    return found | {"packaging", "filelock"}


@pytest.mark.slow  # packs and installs 150 MB of libraries
def test_a_bundle_from_a_folder_of_wheels_installs_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed libraries, packed again, stand in for an index: no network is needed."""
    for name in _list_needed():
        pack_installed(name, tmp_path / "index")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    bundle.create_bundle(tmp_path / "out")
    wheel = next((tmp_path / "out" / "wheels").glob("onnxruntime-*.whl"))
    content = wheel.read_bytes()
    wheel.write_bytes(content[:1000] + b"damage" + content[1006:])
    with pytest.raises(DataError, match=rf"{wheel.name} is damaged"):
        verify_bundle(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"python": "3.2"}, "This bundle is for python 3.2 (here: "),
        ({"processor": "abacus"}, "This bundle is for processor abacus"),
        ({}, "is not empty"),
    ],
)
def test_an_installer_that_cannot_work_says_why(
    change: dict[str, str], said: str, asked: list[str], tmp_path: Path
) -> None:
    bundle.create_bundle(tmp_path / "out", verify=False)
    about = json.loads((tmp_path / "out" / "bundle.json").read_text(encoding="utf-8"))
    text = json.dumps(about | change)
    if change:
        (tmp_path / "out" / "bundle.json").write_text(text, encoding="utf-8")
    command = [sys.executable, tmp_path / "out" / "install.py", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
