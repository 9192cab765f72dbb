"""Untrusted zip files: extracted whole and inside one folder, or not at all."""

import hashlib
import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import platformdirs

from threeages.errors import DataError

MAX_BYTES = 20 * 10**9  # unpacked; more than the largest public set of faces with ages holds
_COMPLETE = ".complete"


def extract_zip(source: Path, *, cache_dir: Path | None = None) -> Path:
    """Extract a zip and return the folder; it is reused while the zip's name, size and time stay the same.

    The folder takes its name only when every member has been written. `cache_dir` defaults to the user's
    cache folder. Raises DataError where a member would leave the folder or is a link, and where the archive
    is encrypted, damaged or larger than MAX_BYTES.
    """
    base = cache_dir or Path(platformdirs.user_cache_dir("threeages"))
    facts = source.stat()
    digest = hashlib.blake2b(f"{facts.st_size} {facts.st_mtime_ns} {source.name}".encode(), digest_size=6)
    target = base / f"{source.stem}-{digest.hexdigest()}"
    if (target / _COMPLETE).is_file():
        return target
    try:
        _extract(source, target)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise DataError(f"{source} is a damaged zip: {error}.", hint="Download it again.") from error
    except OSError as error:
        raise DataError(
            f"Cannot extract {source} into {base}: {error.strerror or error}.",
            hint="Give a cache folder you may write to, on a disk with room, or extract it by hand.",
        ) from error
    return target


def _extract(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        _check(archive, source)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            archive.extractall(part)
            (part / _COMPLETE).touch()
            _move(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, target: Path) -> None:
    if target.exists() and not (target / _COMPLETE).is_file():
        shutil.rmtree(target)
    try:
        part.replace(target)
    except OSError:
        if not (target / _COMPLETE).is_file():  # else another process was first, with the same content
            raise


def _check(archive: zipfile.ZipFile, source: Path) -> None:
    members = archive.infolist()
    for member in members:
        name = member.filename.replace("\\", "/")
        escapes = name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts
        if escapes or stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(
                f"{source} holds '{member.filename}', which leaves the archive's folder or is a link.",
                hint="Such a zip is not safe to extract; take it from the publisher's page again.",
            )
        if member.flag_bits & 1:
            raise DataError(
                f"{source} is encrypted ('{member.filename}').",
                hint="Extract it by hand and give the folder.",
            )
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES:
        raise DataError(
            f"{source} would unpack to {size / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:g} GB is allowed.",
            hint="Extract it by hand if you trust it, and give the folder.",
        )
