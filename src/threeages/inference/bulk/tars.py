"""Images in tar archives, such as the shards of WebDataset: read one after another, never unpacked."""

import io
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from threeages.errors import ImageError
from threeages.faces.folders import holds_image, is_image_name, skipped_kind
from threeages.inference.bulk.listings import damaged
from threeages.inference.sources import Content, FilePart, Source

MAX_BYTES = 1 << 29  # of a member; a damaged header may state any size
DAMAGE = (tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, ValueError)


def read_tar(path: Path, passed_over: Counter[str], *, by_part: bool = False) -> Iterator[Source]:
    """Yield every image of a tar, plain or compressed; its name is that of the tar, '/' and the member's.

    With `by_part` an image of a plain tar is a part of that file, which is read where it is needed. Members
    that are no images are counted in `passed_over`. Raises DataError where the tar ends early or is damaged,
    after the images before that.
    """
    try:
        with tarfile.open(path) as tar:
            for member in _members(tar):
                if kind := _passed_kind(tar, member):
                    passed_over[kind] += 1
                elif member.isfile():
                    load = _find_part if by_part and _is_plain(tar, member) else _load
                    yield Source(f"{path}/{member.name}", load(tar, member))
            if _lacks_end(tar):
                raise tarfile.ReadError("it is cut off or damaged: its end mark is missing")
    except DAMAGE as error:
        raise damaged(path, error) from error


def count_members(path: Path) -> int | None:
    """The number of files in a tar; None where it is compressed, as all of it would be read, or damaged."""
    try:
        with tarfile.open(path, "r:") as tar:
            return sum(
                member.isfile() and is_image_name(member.name) is not False for member in _members(tar)
            )
    except DAMAGE:
        return None


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members, none of which stays in memory: iterating over a TarFile keeps them all."""
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]


def _passed_kind(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Why a member is passed over, '' where it is an image or a folder."""
    name = PurePosixPath(member.name)
    if member.isdir():
        return ""
    if hidden := next(filter(None, map(skipped_kind, name.parts)), ""):
        return hidden
    if not member.isfile():
        return "link or special file"
    known = is_image_name(member.name)
    if known is None:
        known = holds_image(_file(tar, member))
    return "" if known else name.suffix.lower() or "no suffix"


def _load(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Content:
    if member.size > MAX_BYTES:
        return _too_large(member)
    content: bytes = _file(tar, member).read()
    return content


def _find_part(tar: tarfile.TarFile, member: tarfile.TarInfo) -> FilePart | ImageError:
    if member.size > MAX_BYTES:
        return _too_large(member)
    path = Path(os.fsdecode(tar.name or ""))  # tarfile makes it absolute
    if member.offset_data + member.size > path.stat().st_size:
        raise tarfile.ReadError("unexpected end of data")
    return FilePart(path, member.offset_data, member.size)


def _is_plain(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """Whether the bytes of a member are a part of the file as they are."""
    return isinstance(tar.fileobj, io.BufferedReader) and not member.issparse()


def _too_large(member: tarfile.TarInfo) -> ImageError:
    what = f"The member has {member.size:,} bytes; {MAX_BYTES:,} are allowed."
    return ImageError("too_large", what, hint="Store a smaller copy of the image.")


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = tar.extractfile(member)
    assert file is not None  # of a file there is one
    return file


def _lacks_end(tar: tarfile.TarFile) -> bool:
    """Whether a block of zeros is missing at the end: `tarfile` takes a damaged header for the end."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    return bool(file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE))
