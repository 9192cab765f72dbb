"""A wheel that is packed again from an installation is one that pip installs."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.offline import own_wheel
from threeages.offline.own_wheel import pack_installed


def test_an_installed_package_becomes_a_wheel_that_pip_installs(tmp_path: Path) -> None:
    wheel = pack_installed("platformdirs", tmp_path / "wheels")
    version = metadata.version("platformdirs")
    assert wheel.name == f"platformdirs-{version}-py3-none-any.whl"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*command, tmp_path / "there", wheel], check=True, capture_output=True, timeout=120)
    code = "import platformdirs as p, importlib.metadata as m; print(p.__file__, m.version('platformdirs'))"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(tmp_path / "there")}, capture_output=True,
        text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert said == [str(tmp_path / "there" / "platformdirs" / "__init__.py"), version]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of packages that holds leaf-one 2.0, as an installer leaves it."""
    folder = tmp_path / "packages"
    info = folder / "leaf_one-2.0.dist-info"
    info.mkdir(parents=True)
    files = {
        "leaf.py": "x = 1\n",
        "leaf_one-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: leaf-one\nVersion: 2.0\n",
        "leaf_one-2.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n",
        "leaf_one-2.0.dist-info/entry_points.txt": "[console_scripts]\nleaf = leaf:main\n",
        "leaf_one-2.0.dist-info/INSTALLER": "pip\n",
        "leaf_one-2.0.dist-info/direct_url.json": "{}",
        "__pycache__/leaf.pyc": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    record = [*files, "leaf_one-2.0.dist-info/RECORD", "../../bin/leaf"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in record), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_only_what_the_wheel_held_is_packed_and_always_the_same(installed: Path, tmp_path: Path) -> None:
    wheels = [pack_installed("leaf-one", tmp_path / name) for name in ("a", "b")]
    assert wheels[0].name == "leaf_one-2.0-py2.py3-none-any.whl"
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as file:
        assert [Path(name).name for name in file.namelist()] == [
            "leaf.py", "METADATA", "WHEEL", "entry_points.txt", "RECORD",
        ]  # fmt: skip
        record = file.read("leaf_one-2.0.dist-info/RECORD").decode().splitlines()
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).decode().rstrip("=")
    assert record[0] == f"leaf.py,sha256={digest},6"
    assert record[-1] == "leaf_one-2.0.dist-info/RECORD,,"


def test_a_file_that_is_gone_is_named(installed: Path, tmp_path: Path) -> None:
    (installed / "leaf.py").unlink()
    with pytest.raises(DataError, match=r"leaf-one lacks leaf\.py") as raised:
        pack_installed("leaf-one", tmp_path / "a")
    assert "pip install --force-reinstall --no-deps leaf-one" in raised.value.hint
    assert not (tmp_path / "a").exists()


def test_what_is_not_installed_from_a_wheel_is_refused(installed: Path, tmp_path: Path) -> None:
    (installed / "leaf_one-2.0.dist-info" / "RECORD").unlink()
    for name in ("leaf-one", "leaf-none"):
        with pytest.raises(DataError, match="installed"):
            pack_installed(name, tmp_path / "a")


def test_a_checkout_is_built_and_an_installation_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def build(*given: object) -> None:
        calls.append(given)
        (tmp_path / "threeages-1.whl").touch()

    monkeypatch.setattr(own_wheel, "build_wheels", build)
    monkeypatch.setattr(own_wheel, "pack_installed", lambda name, folder: calls.append((name, folder)))
    assert own_wheel.write_own_wheel(tmp_path) == tmp_path / "threeages-1.whl"
    assert calls[0][0] == [str(Path(own_wheel.__file__).parents[3])]  # type: ignore[index]
    monkeypatch.setattr(own_wheel, "PACKAGE", tmp_path / "site-packages" / "threeages")
    own_wheel.write_own_wheel(tmp_path)
    assert calls[1] == ("threeages", tmp_path)
