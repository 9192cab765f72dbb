import os
from pathlib import Path

from threeages.files.checksums import checksum, checksum_bytes
from threeages.files.disk import BLOCK
from threeages.files.writing import (
    write_bytes,
)


def test_a_checksum_sees_every_damage(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    content = bytearray(os.urandom(2 * BLOCK + 100))
    write_bytes(file, content)
    before = checksum(file)
    assert before == checksum(file)
    file.write_bytes(content[: BLOCK + 50])
    assert checksum(file) != before
    for place in (0, BLOCK, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        assert checksum(file) != before
    file.write_bytes(b"")
    assert checksum(file).endswith("-0")


def test_bytes_have_the_checksum_of_their_file(tmp_path: Path) -> None:
    content = os.urandom(BLOCK + 100)
    (tmp_path / "a").write_bytes(content)
    assert checksum(tmp_path / "a") == checksum_bytes(content)
    assert checksum(tmp_path / "a", BLOCK + 5) == checksum_bytes(content[: BLOCK + 5])
    assert checksum(tmp_path / "a", 0) == checksum_bytes(b"")
