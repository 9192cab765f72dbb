"""Names of images as digests of 16 bytes: which were seen, and which belong to a shard."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from threeages.errors import ConfigError

SIZE = 16  # bytes; that two of a billion names share a digest has a chance of 1 in 10**21
EMPTY = bytes(SIZE)
FIRST_CELLS = 1 << 10


def digest_name(name: str) -> bytes:
    """The digest of a name of any characters, those of undecodable bytes among them."""
    return blake2b(name.encode(errors="surrogatepass"), digest_size=SIZE).digest()


class DigestSet:
    """A set of digests without an object for each: a hash table of 24 to 48 bytes a name.

    Collisions are resolved by linear probing (Knuth, "The Art of Computer Programming", volume 3, 6.4).
    """

    def __init__(self) -> None:
        self._cells, self._count = bytearray(SIZE * FIRST_CELLS), 0

    def __len__(self) -> int:
        return self._count

    def add(self, digest: bytes) -> bool:
        """Add a digest; False where it is there already."""
        if 3 * self._count >= 2 * (len(self._cells) // SIZE):
            self._grow()
        place = self._find(digest)
        if self._cells[place : place + SIZE] == digest:
            return False
        self._cells[place : place + SIZE] = digest
        self._count += 1
        return True

    def _find(self, digest: bytes) -> int:
        """Where the digest is, or the empty cell that it belongs into."""
        cells, end = self._cells, len(self._cells)
        place = int.from_bytes(digest[:8], "little") % (end // SIZE) * SIZE
        while cells[place : place + SIZE] not in (digest, EMPTY):
            place = (place + SIZE) % end
        return place

    def _grow(self) -> None:
        before, self._cells = self._cells, bytearray(2 * len(self._cells))
        for digest in _list_digests(before):  # one at a time: as objects they take four times the memory
            place = self._find(digest)
            self._cells[place : place + SIZE] = digest


def _list_digests(cells: bytearray) -> Iterator[bytes]:
    for place in range(0, len(cells), SIZE):
        cell = bytes(cells[place : place + SIZE])
        if cell != EMPTY:
            yield cell


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the images, by their names: `number` is from 1 to `count`.

    The parts are disjoint and together complete, in whatever order and on whichever machine images are
    listed.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard of a text such as '2/8'; raises ConfigError."""
        number, _, count = text.partition("/")
        if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(int(number), int(count))
        raise ConfigError(f"The shard was '{text}'.", hint="Give I/N with I from 1 to N, such as 2/8.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, digest: bytes) -> bool:
        """Whether an image with that digest belongs to the shard."""
        return int.from_bytes(digest[8:], "little") % self.count == self.number - 1
