"""Whether the file of a video is cut off, by the sizes in its container: MP4, MOV, MKV, WebM, AVI."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 10_000  # fragments of a long recording; what lies behind them is not looked at
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
ISO_STARTS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"})

Box = tuple[bytes, int]  # name, and where it ends


def is_cut_off(path: Path) -> bool | None:
    """Whether the file ends before its container does; None where its container does not say."""
    boxes = list_boxes(path)
    return max(end for _, end in boxes) > path.stat().st_size if boxes else None


def lacks_index(path: Path) -> bool:
    """Whether an MP4 or MOV has no index, which is written last: an interrupted recording or copy."""
    names = [name for name, _ in list_boxes(path)]
    return bool(names) and names[0] in ISO_STARTS and b"moov" not in names


def list_boxes(path: Path) -> list[Box]:
    """The outermost parts of the file; empty for another container, and where a size is not stated."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in ISO_STARTS:
            return list(_iso_boxes(file, size))
        if head[:4] == b"RIFF":
            return list(_riff_chunks(file, size))
        return list(_segment(file)) if head[:4] == EBML else []


def _iso_boxes(file: BinaryIO, size: int) -> Iterator[Box]:
    place = 0
    for _ in range(MAX_BOXES):
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if len(head) < 8 or (0 < length < 8):
            return
        place = place + length if length else size  # 0: to the end of the file
        yield head[4:8], place
        if place >= size:
            return


def _riff_chunks(file: BinaryIO, size: int) -> Iterator[Box]:
    place = 0
    for _ in range(MAX_BOXES):
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or length in {0, 0xFFFFFFFF}:  # a recorder that was switched off
            return
        place += 8 + length + length % 2
        yield head[:4], place - length % 2
        if place >= size:
            return


def _segment(file: BinaryIO) -> Iterator[Box]:
    file.seek(4)
    header = _read_size(file)
    if header is None:
        return
    file.seek(header, 1)
    if file.read(4) == SEGMENT and (length := _read_size(file)) is not None:
        yield SEGMENT, file.tell() + length


def _read_size(file: BinaryIO) -> int | None:
    """A size of Matroska: the zeros that it begins with count its further bytes; all ones is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
