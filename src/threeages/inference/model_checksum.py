"""The checksum that an exported model carries: ONNX Runtime loads damaged weights in silence."""

from pathlib import Path

from threeages.bundled import CHECKSUMS
from threeages.errors import ModelError
from threeages.files.checksums import checksum, checksum_bytes

KEY = b"threeages.checksum"
METADATA_PROPS = 0x72  # tag of an entry of the metadata in an ONNX file: protobuf field 14, a message
KEY_TAG, VALUE_TAG = 0x0A, 0x12  # of the two strings of an entry
LONGEST = 64  # bytes of the entry at most
HINT = "Copy or download it again, or write it again: threeages export RUN --out FILE."


def add_checksum(content: bytes) -> bytes:
    """The bytes of an ONNX model, and behind them their checksum as one more entry of the metadata."""
    value = checksum_bytes(content).encode()
    entry = bytes([KEY_TAG, len(KEY)]) + KEY + bytes([VALUE_TAG, len(value)]) + value
    return content + bytes([METADATA_PROPS, len(entry)]) + entry


def check_model(path: Path) -> None:
    """Raise ModelError where the file of a model of this package is not as it was written.

    An exported one has its checksum at its end, a copy of the shipped one has it in `bundled`.
    """
    size, held = _read_checksum(path)
    if held is None:
        if checksum(path) != CHECKSUMS["default.onnx"]:
            raise ModelError(f"{path} carries no checksum: it is damaged, or was changed since.", hint=HINT)
    elif checksum(path, size) != held:
        raise ModelError(f"{path} is damaged: it is not as it was written.", hint=HINT)


def _read_checksum(path: Path) -> tuple[int, str | None]:
    """How many bytes stand before the checksum of a file, and the checksum itself; None without one."""
    start = max(0, path.stat().st_size - LONGEST)
    with path.open("rb") as file:
        file.seek(start)
        end = file.read()
    place = end.rfind(bytes([KEY_TAG, len(KEY)]) + KEY + bytes([VALUE_TAG])) - 2
    if place < 0 or end[place] != METADATA_PROPS or end[place + 1] != len(end) - place - 2:
        return 0, None
    value = end[place + 6 + len(KEY) :]
    return start + place, value.decode(errors="replace") if end[place + 5 + len(KEY)] == len(value) else ""
