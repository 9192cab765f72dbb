"""Untrusted zip and tar files: extracted whole and inside one folder, or not at all."""

import contextlib
import hashlib
import logging
import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import platformdirs

from threeages.data.stored.opening import open_stored
from threeages.errors import DataError, describe_cause
from threeages.files.disk import check_room, write_error

logger = logging.getLogger(__name__)

MAX_BYTES = 20 * 10**9  # unpacked; more than the largest public set of faces with ages holds
SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
_LEFT_OUT = ".damaged"  # names of the members that could not be read, a line each
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
    if path.name.lower().endswith(SUFFIXES):
        return True
    return zipfile.is_zipfile(path) or (tarfile.is_tarfile(path) and _has_content(path))


def _has_content(path: Path) -> bool:
    """Whether a file begins with something: zeros alone pass for the end of a tar."""
    with path.open("rb") as file:
        return any(file.read(tarfile.BLOCKSIZE))


def extract_archive(source: Path, *, cache_dir: Path | None = None) -> Path:
    """Extract a zip or tar, compressed or not, and return the folder.

    It is reused while the archive's name, size and time, and the files extracted, stay the same.

    The folder takes its name only when every member has been written (data.stored). Members of a zip that are
    damaged are left out, with a warning in the log. `cache_dir` defaults to the user's cache folder. Raises
    DataError where a member would leave the folder or is a link (in a tar: a link that leaves it), where the
    archive is encrypted, damaged or larger than MAX_BYTES, and where the disk cannot hold it.
    """
    base = cache_dir or Path(platformdirs.user_cache_dir("threeages"))
    facts = source.stat()
    digest = hashlib.blake2b(f"{facts.st_size} {facts.st_mtime_ns} {source.name}".encode(), digest_size=6)
    target = base / f"{source.name.split('.')[0]}-{digest.hexdigest()}"
    found = open_stored(target, lambda part: _build(source, part, target)).path
    _warn_of_damaged(source, found)
    return found


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
            if not names:
                raise tarfile.ReadError("it has no members")
            size = sum(member.size for member in names)
            _write(target, size, lambda: tar.extractall(part, members=names, filter="data"))
    else:
        with zipfile.ZipFile(source) as archive:
            _check_zip(archive, source)
            size = sum(member.file_size for member in archive.infolist())
            _write(target, size, lambda: _extract_members(archive, part))


def _extract_members(archive: zipfile.ZipFile, part: Path) -> None:
    """Extract every member that is whole, and list the others; raises as zipfile does where none is."""
    damaged, last = [], Exception()
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        try:
            archive.extract(member, part)
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            (part / member.filename).unlink(missing_ok=True)
            damaged.append(member.filename)
            last = error
    if damaged and len(damaged) == len(members):
        raise last
    if damaged:
        (part / _LEFT_OUT).write_text("\n".join(damaged), encoding="utf-8")


def _warn_of_damaged(source: Path, target: Path) -> None:
    if (target / _LEFT_OUT).is_file():
        names = (target / _LEFT_OUT).read_text(encoding="utf-8").splitlines()
        logger.warning(
            "%s is damaged: %s of its files are left out, first %s. Download it again to have them.",
            source,
            f"{len(names):,}",
            names[0],
        )


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
    return DataError(f"{source} is a damaged {kind}: {describe_cause(error)}.", hint="Download it again.")


def _unsafe(source: Path, what: str) -> DataError:
    return DataError(
        f"{source} is not safe to extract: {what}.",
        hint="Take it from the publisher's page again, or extract it by hand if you trust it.",
    )
