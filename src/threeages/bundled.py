"""The files in this package that every answer depends on, and their checksums."""

from pathlib import Path

from threeages.errors import ModelError
from threeages.files.checksums import checksum

ASSETS = Path(__file__).parent / "assets"
CHECKSUMS = {  # as threeages.files.checksums gives them; a file that is replaced needs its new one here
    "default.onnx": "180b974d-5673832",
    "large.npz": "503070d5-2803136",
    "selftest.json": "f966684d-102803",
    "yunet.onnx": "03b18162-225474",
    "mobilenet_v1_face.safetensors": "6932bc26-6396704",
}
HINT = "Install it again: pip install --force-reinstall --no-deps threeages."


def check_bundled(path: Path) -> bool:
    """Whether a path is a file of this package; raises ModelError where that is missing or damaged."""
    if path.parent != ASSETS:
        return False
    if not path.is_file():
        raise ModelError(f"This installation lacks its file {path}.", hint=HINT)
    if path.name not in CHECKSUMS:
        return False
    if checksum(path) != CHECKSUMS[path.name]:
        raise ModelError(f"This installation is damaged: {path} is not as it was released.", hint=HINT)
    return True
