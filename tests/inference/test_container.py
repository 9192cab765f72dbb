from pathlib import Path

import pytest

from threeages.inference.container import is_cut_off, lacks_index


def box(name: bytes, size: int, body: int | None = None) -> bytes:
    return (size + 8).to_bytes(4, "big") + name + bytes(size if body is None else body)


WIDE = (1).to_bytes(4, "big") + b"mdat" + (16 + 40).to_bytes(8, "big")
EBML = b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67"


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (box(b"ftyp", 8) + box(b"moov", 30) + box(b"mdat", 50), False),
        (box(b"ftyp", 8) + box(b"moov", 30) + box(b"mdat", 50, 20), True),
        (box(b"ftyp", 8) + WIDE + bytes(40), False),
        (box(b"ftyp", 8) + WIDE + bytes(39), True),
        (box(b"ftyp", 8) + bytes(4) + b"mdat" + bytes(7), False),
        (b"RIFF" + (20).to_bytes(4, "little") + bytes(20), False),
        (b"RIFF" + (20).to_bytes(4, "little") + bytes(19), True),
        ((b"RIFF" + (20).to_bytes(4, "little") + bytes(20)) * 2, False),
        ((b"RIFF" + (20).to_bytes(4, "little") + bytes(20)) * 2 + b"RIFF" + b"\x09\0\0\0" + bytes(3), True),
        (b"RIFF" + bytes(50), None),
        (EBML + b"\x8a" + bytes(10), False),
        (EBML + b"\x8a" + bytes(9), True),
        (EBML + b"\x40\x0a" + bytes(10), False),
        (EBML + b"\x01" + b"\xff" * 7 + bytes(9), None),
        (b"GIF89a" + bytes(20), None),
        (b"", None),
    ],
)
def test_containers_that_end_before_their_size(data: bytes, cut: bool | None, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(data)
    assert is_cut_off(path) is cut


def test_an_index_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "video"
    for data, missing in (
        (box(b"ftyp", 8) + box(b"mdat", 50), True),
        (box(b"ftyp", 8) + box(b"mdat", 50) + box(b"moov", 9), False),
        (b"text without any video", False),
    ):
        path.write_bytes(data)
        assert lacks_index(path) is missing
