"""The wheel of an installed distribution: built from its checkout, or packed again from its files."""

import base64
import csv
import hashlib
import io
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from threeages.distribution import NAME
from threeages.errors import DataError
from threeages.files.atomic import atomic_path
from threeages.machine import PACKAGE
from threeages.offline.pip import build_wheels

LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # written by whoever installs a wheel
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold: the same files give the same wheel


def write_own_wheel(folder: Path) -> Path:
    """The wheel of this package in a folder; raises DataError where it cannot be made."""
    checkout = PACKAGE.parents[1]
    if not (checkout / "pyproject.toml").is_file() or PACKAGE.parent.name != "src":
        return pack_installed(NAME, folder)
    options = ["--no-deps", *(["--no-build-isolation"] if find_spec("hatchling") else [])]
    build_wheels([str(checkout)], folder, *options)
    (wheel,) = folder.glob(f"{NAME}-*.whl")
    return wheel


def pack_installed(name: str, folder: Path) -> Path:
    """Pack the files of an installed distribution into the wheel that they came from, into a folder.

    Programs of a distribution that are no entry points are left out. Raises DataError where it is not
    installed from a wheel, or a file of it is missing.
    """
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise DataError(f"{name} is not installed.", hint=f"Run: pip install {name}") from error
    contents = _read_files(found, name)
    info = next((path.partition("/")[0] for path in contents if path.endswith(".dist-info/WHEEL")), "")
    if not info or len(contents) < 3:
        raise DataError(f"{name} was not installed from a wheel.", hint=f"Run: pip install {name}")
    contents[f"{info}/RECORD"] = _write_record(contents, f"{info}/RECORD")
    path = folder / f"{info.removesuffix('.dist-info')}-{_read_tag(contents[f'{info}/WHEEL'])}.whl"
    with atomic_path(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for member, content in contents.items():
            entry = zipfile.ZipInfo(member, EPOCH)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return path


def _read_files(found: metadata.Distribution, name: str) -> dict[str, bytes]:
    contents = {}
    # its own RECORD: `found.files` leaves out what is missing, in Python from 3.12 on
    for row in csv.reader((found.read_text("RECORD") or "").splitlines()):
        file = PurePosixPath(row[0])
        own = file.parts[0].endswith(".dist-info")
        if file.suffix == ".pyc" or ".." in file.parts or (own and file.name in LEFT_OUT):
            continue
        try:
            contents[file.as_posix()] = Path(str(found.locate_file(row[0]))).read_bytes()
        except OSError as error:
            hint = f"Run: pip install --force-reinstall --no-deps {name}"
            raise DataError(f"The installation of {name} lacks {file}.", hint=hint) from error
    return contents


def _write_record(contents: dict[str, bytes], own: str) -> bytes:
    """The list of files with their digests, as a wheel must have it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for member, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow([member, f"sha256={digest}", len(content)])
    writer.writerow([own, "", ""])
    return text.getvalue().encode()


def _read_tag(wheel: bytes) -> str:
    """The tag of a file name, such as py2.py3-none-any, of a WHEEL file, which has a line for each part."""
    lines = wheel.decode().splitlines()
    tags = [line.partition(":")[2].strip().split("-") for line in lines if line.startswith("Tag:")]
    return "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
