"""Checksums of files: quick ones against damage, not against attackers, and SHA-256."""

import hashlib
import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from threeages.files.disk import BLOCK


def checksum(path: Path, size: int | None = None) -> str:
    """A digest of a file's content against damage, not against attackers: CRC-32 of its blocks, in order.

    `size` is the number of bytes from its start, all by default. The blocks are read by as many threads as
    there are processors, about as fast as they come from memory.
    """
    end = path.stat().st_size if size is None else size
    if end <= BLOCK:
        return checksum_bytes(_read_block(path, 0, end))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, end, BLOCK)
        found = pool.map(lambda start: zlib.crc32(_read_block(path, start, min(BLOCK, end - start))), starts)
        return _join_blocks(found, end)


def digest_file(path: Path) -> str:
    """The SHA-256 of a file's content in hexadecimal, by which others name it too."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches_checksum(path: Path, expected: str) -> bool:
    """Whether a file is there and has that checksum; one of another size is not read."""
    try:
        return expected.endswith(f"-{path.stat().st_size}") and checksum(path) == expected
    except OSError:
        return False


def checksum_bytes(content: bytes) -> str:
    """The checksum of a file with that content."""
    found = (zlib.crc32(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK))
    return _join_blocks(found, len(content))


def _join_blocks(found: Iterable[int], size: int) -> str:
    whole = b"".join(crc.to_bytes(4, "big") for crc in found)
    return f"{zlib.crc32(whole):08x}-{size}"


def _read_block(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)
