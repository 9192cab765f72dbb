"""Make a bundle: wheels, an installer, checksums, and the large model where that is asked for."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from threeages.distribution import NAME, list_extras, list_installed
from threeages.errors import ConfigError, DataError
from threeages.files.checksums import digest_file
from threeages.files.disk import write_error
from threeages.files.writing import write_json, write_text
from threeages.offline import install
from threeages.offline.own_wheel import write_own_wheel
from threeages.offline.pip import build_wheels
from threeages.offline.verify import verify_bundle

logger = logging.getLogger(__name__)
INSTALLER, README = Path(install.__file__), "README.md"


def create_bundle(
    folder: Path, *, extras: Sequence[str] = (), large: bool = False, verify: bool = True
) -> None:
    """Write a bundle of this installation into a new or empty folder.

    What is installed here is bundled in its version; what an extra needs and is missing comes in the version
    that pip chooses. The folder takes its name when it is whole and, with `verify`, was installed and tested.
    Raises ConfigError for an unknown extra, DataError where the folder holds files, pip cannot get a wheel or
    the bundle does not install, and ModelError where the large model was not fetched.
    """
    check_extras(extras)
    folder = folder.absolute()  # '.' has no name
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} is there and not empty.", hint="Give a new or empty folder.")
    model = _find_large() if large else None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
            part = Path(name) / folder.name
            _fill(part, extras, model)
            if verify:
                logger.info("Installing it into a fresh environment without an index, and testing it")
                verify_bundle(part)
            if folder.is_dir():
                folder.rmdir()  # empty, as checked above; Windows renames onto no folder
            part.replace(folder)
    except OSError as error:
        raise write_error(folder, error) from error


def check_extras(extras: Sequence[str]) -> None:
    """Raise ConfigError where an extra is unknown."""
    known = list_extras()
    for extra in extras:
        if extra not in known:
            raise ConfigError(f"There is no extra '{extra}'.", hint=f"Allowed: {', '.join(sorted(known))}.")


def _find_large() -> Path:
    from threeages.inference.named import LARGE_MODEL

    return LARGE_MODEL.find()


def _fill(folder: Path, extras: Sequence[str], model: Path | None) -> None:
    wheels = folder / install.WHEELS
    wheels.mkdir(parents=True)
    logger.info("Making the wheel of %s", NAME)
    own = write_own_wheel(wheels)
    version = own.name.split("-")[1]
    named = f"{NAME}[{','.join(extras)}]" if extras else NAME
    logger.info("Getting the wheels that %s needs, with pip", named)
    _get_dependencies(own, named, wheels)
    if model:
        (folder / install.MODELS).mkdir()
        shutil.copy(model, folder / install.MODELS)
    about = install.describe_platform() | {"version": version, "requirement": f"{named}=={version}"}
    _write_texts(folder, about, extras)


def _get_dependencies(own: Path, named: str, wheels: Path) -> None:
    """All that the package needs, in the versions that are installed here."""
    installed = (f"{name}=={version}\n" for name, version in list_installed().items() if name != NAME)
    constraints = wheels.parent / "constraints.txt"
    write_text(constraints, "".join(installed))
    build_wheels([f"{named} @ {own.absolute().as_uri()}"], wheels, "--constraint", str(constraints))
    constraints.unlink()


def _write_texts(folder: Path, about: dict[str, str], extras: Sequence[str]) -> None:
    """The installer, what the bundle is, and last the checksums of all of it."""
    shutil.copyfile(INSTALLER, folder / INSTALLER.name)
    names = sorted(path.name for path in (folder / install.WHEELS).iterdir())
    write_json(folder / install.ABOUT, about | {"extras": list(extras), "wheels": names})
    text = INSTALLER.with_name(README).read_text(encoding="utf-8")
    shown = about | {"extras": f", with {', '.join(extras)}" if extras else ""}
    write_text(folder / README, text.format(**shown))
    sums = [f"{digest_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in _list_files(folder)]
    write_text(folder / install.SUMS, "".join(sums))


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
