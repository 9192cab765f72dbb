import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from threeages import bundled
from threeages.doctor import selftest
from threeages.errors import ModelError
from threeages.faces.yunet import YuNet
from threeages.files.checksums import checksum
from threeages.inference.named import LargeModel
from threeages.inference.runtime import OnnxModel
from threeages.models.classifier import create_classifier
from threeages.models.registry import create_signature
from threeages.models.weights import load_pretrained

OPENERS: dict[str, Callable[[Path], object]] = {
    "default.onnx": OnnxModel,
    "large.npz": lambda path: LargeModel(path).path,
    "selftest.json": lambda path: _read_selftest(path),
    "yunet.onnx": YuNet,
    "mobilenet_v1_face.safetensors": lambda _: load_pretrained(
        create_classifier(create_signature("mobilenet_v1_face", 48))
    ),
}


def _read_selftest(path: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "FILE", path)
        return selftest.read_photos()


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's files, taken for them."""
    folder = tmp_path / "assets"
    shutil.copytree(bundled.ASSETS, folder)
    for module in ("threeages.bundled", "threeages.models.weights"):
        monkeypatch.setattr(f"{module}.ASSETS", folder)
    return folder


def test_every_binary_file_of_the_package_has_its_checksum() -> None:
    files = [path for path in bundled.ASSETS.iterdir() if path.suffix != ".md"]
    assert {path.name: checksum(path) for path in files} == bundled.CHECKSUMS


@pytest.mark.parametrize("damage", ["flipped", "halved", "missing"])
@pytest.mark.parametrize("name", bundled.CHECKSUMS)
def test_an_installation_that_is_damaged_says_how_to_repair_it(name: str, damage: str, assets: Path) -> None:
    path = assets / name
    content = path.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    path.write_bytes({"flipped": flipped, "halved": content[:half], "missing": b""}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(ModelError, match="This installation") as raised:
        OPENERS[name](path)
    assert str(path) in raised.value.message
    assert "pip install --force-reinstall" in raised.value.hint


def test_a_command_of_a_damaged_installation_ends_with_the_message(assets: Path) -> None:
    (assets / "yunet.onnx").write_bytes(b"half")
    code = (
        "import sys; from pathlib import Path; from threeages import bundled; "
        "bundled.ASSETS = Path(sys.argv[1]); from threeages.cli.main import main; "
        "sys.argv[1:] = ['predict', 'photo.jpg']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(assets)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: This installation is damaged: ")
    assert len(done.stderr.splitlines()) == 2
