"""Untrusted zip and tar files: extracted whole and inside one folder, or not at all."""

import contextlib
import hashlib
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import platformdirs

from threeages.data.stored import open_stored
from threeages.errors import DataError
from threeages.files import check_room, write_error

MAX_BYTES = 20 * 10**9  # unpacked; more than the largest public set of faces with ages holds
SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
)
_UTF8_FLAG = 0x800
_CHUNK = 1 << 20  # bytes


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar by its name or content."""
    return path.name.lower().endswith(SUFFIXES) or zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def extract_archive(source: Path, *, cache_dir: Path | None = None) -> Path:
    """Extract a zip or tar, compressed or not, and return the folder.

    It is reused while the archive's name, size and time, and the files extracted, stay the same.

    The folder takes its name only when every member has been written (data.stored). `cache_dir` defaults to
    the user's cache folder. Raises DataError where a member would leave the folder or is a link (in a tar: a
    link that leaves it), where the archive is encrypted, damaged or larger than MAX_BYTES, and where the disk
    cannot hold it.
    """
    base = cache_dir or Path(platformdirs.user_cache_dir("threeages"))
    facts = source.stat()
    digest = hashlib.blake2b(f"{facts.st_size} {facts.st_mtime_ns} {source.name}".encode(), digest_size=6)
    target = base / f"{source.name.split('.')[0]}-{digest.hexdigest()}"
    return open_stored(target, lambda part: _build(source, part, target)).path


def _build(source: Path, part: Path, target: Path) -> None:
    try:
        _extract(source, part, target)
    except tarfile.FilterError as error:
        raise _unsafe(source, str(error)) from error
    except _DAMAGED as error:
        raise _damaged(source, error) from error
    except OSError as error:
        if error.errno is None:  # from a decompressor, not from the system
            raise _damaged(source, error) from error
        raise


def _is_tar(source: Path) -> bool:
    name = source.name.lower()
    return not name.endswith(".zip") and (name.endswith(SUFFIXES[1:]) or not zipfile.is_zipfile(source))


def _extract(source: Path, part: Path, target: Path) -> None:
    """Into the folder `part`, which becomes `target`."""
    if _is_tar(source):
        with tarfile.open(source) as tar:
            names = _check_tar(tar, source)
            size = sum(member.size for member in names)
            _write(target, size, lambda: tar.extractall(part, members=names, filter="data"))
    else:
        with zipfile.ZipFile(source) as archive:
            _check_zip(archive, source)
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            _write(target, size, lambda: archive.extractall(part, members))


def _write(target: Path, size: int, extract_all: Callable[[], None]) -> None:
    check_room(target, size)
    try:
        extract_all()
    except OSError as error:
        if error.errno is None:
            raise
        raise write_error(target, error, need=size) from error


def _check_zip(archive: zipfile.ZipFile, source: Path) -> None:
    """Raises DataError for what is not safe, and gives members the names to extract them by."""
    members = archive.infolist()
    for member in members:
        member.filename = _zip_name(member)
        if _escapes(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
            raise _unsafe(source, f"'{member.filename}' leaves the archive's folder or is a link")
        if member.flag_bits & 1:
            raise DataError(
                f"{source} is encrypted ('{member.filename}').",
                hint="Extract it by hand and give the folder.",
            )
    _check_size(source, sum(member.file_size for member in members))


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name with '/', and in UTF-8 where the archive did not say that it is."""
    name = member.filename
    if not member.flag_bits & _UTF8_FLAG:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _check_tar(tar: tarfile.TarFile, source: Path) -> list[tarfile.TarInfo]:
    """The members, in order; raises DataError for what is not safe, before anything is written.

    No member lies below a link and no link points below one: links cannot be chained out of the folder.
    """
    members, size = [], 0
    for member in tar:  # one by one, so that a huge archive ends here
        member.name = member.name.replace("\\", "/")
        size += member.size
        _check_size(source, size)
        members.append(member)
    while tar.fileobj and (rest := tar.fileobj.read(_CHUNK)):  # to the end, where the checksum is
        size += len(rest)
        _check_size(source, size)
    links = {posixpath.normpath(member.name) for member in members if member.issym() or member.islnk()}
    for member in members:
        places = [member.name, *([_link_target(member)] if member.issym() or member.islnk() else [])]
        if any(_escapes(place) or _is_below(place, links) for place in places):
            raise _unsafe(source, f"'{member.name}' leaves the archive's folder, or is a link that does")
    return members


def _link_target(member: tarfile.TarInfo) -> str:
    if member.islnk() or member.linkname.startswith("/"):
        return member.linkname
    return posixpath.normpath(
        posixpath.join(posixpath.dirname(posixpath.normpath(member.name)), member.linkname)
    )


def _is_below(name: str, links: set[str]) -> bool:
    return any(str(parent) in links for parent in PurePosixPath(posixpath.normpath(name)).parents)


def _escapes(name: str) -> bool:
    return name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts


def _check_size(source: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"{source} would unpack to {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:g} GB is allowed.",
            hint="Extract it by hand if you trust it, and give the folder.",
        )


def _damaged(source: Path, error: Exception) -> DataError:
    kind = "tar" if _is_tar(source) else "zip"
    return DataError(f"{source} is a damaged {kind}: {error}.", hint="Download it again.")


def _unsafe(source: Path, what: str) -> DataError:
    return DataError(
        f"{source} is not safe to extract: {what}.",
        hint="Take it from the publisher's page again, or extract it by hand if you trust it.",
    )
