"""A model from the hub: fetched, verified, and only then put in place."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threeages.errors import ConfigError, ModelError
from threeages.files.atomic import find_leftovers, name_part
from threeages.files.disk import check_room, write_error
from threeages.files.writing import write_together
from threeages.hub.contents import CARD_FILE, LICENSE_FILES, MODEL_FILE, SIGNATURE_FILE, check_signature
from threeages.hub.remote import MAIN, Hub, RemoteFile, Snapshot
from threeages.inference.runtime import OnnxModel
from threeages.signature import Signature

BESIDE = (CARD_FILE, SIGNATURE_FILE, *LICENSE_FILES)


@dataclass(frozen=True)
class PulledModel:
    """The folder that a model was written to, the commit it is of, its signature and its files."""

    folder: Path
    commit: str
    signature: Signature
    files: tuple[str, ...]


def pull_model(hub: Hub, repo: str, folder: Path, revision: str = MAIN) -> PulledModel:
    """Write the model of a repository into a folder: all of its files, or none where anything is wrong.

    Fetched are the ONNX file, written as `model.onnx`, its card, signature and licence. Raises ModelError
    where the repository holds no model of this package, DataError where a file comes damaged or cannot be
    written, ConfigError where the folder holds another model, and what `Hub` raises.
    """
    snapshot = hub.list_files(repo, revision)
    chosen = choose_files(snapshot, repo)
    check_room(folder, 2 * sum(file.size for file in chosen.values()))
    with _open_staging(folder) as staging:
        found = {name: hub.download(repo, file, snapshot.commit, staging) for name, file in chosen.items()}
        signature = verify_model(found, repo)
        _check_folder(folder, found)
        write_together({folder / name: path.read_bytes() for name, path in found.items()})
    return PulledModel(folder, snapshot.commit, signature, tuple(found))


def choose_files(snapshot: Snapshot, repo: str) -> Mapping[str, RemoteFile]:
    """The files of a repository that make the model, by the name that each gets; raises ModelError."""
    found = [file for name, file in snapshot.files.items() if name.endswith(".onnx") and "/" not in name]
    model = snapshot.files.get(MODEL_FILE) or (found[0] if len(found) == 1 else None)
    if model is None:
        what = f"holds {len(found)} ONNX files and none named {MODEL_FILE}" if found else "holds no ONNX file"
        raise ModelError(
            f"{repo} is no model of threeages: it {what}.", hint="Give one that 'threeages push' wrote."
        )
    return {MODEL_FILE: model} | {name: snapshot.files[name] for name in BESIDE if name in snapshot.files}


def verify_model(found: Mapping[str, Path], repo: str) -> Signature:
    """The signature of a fetched model; raises ModelError, which names the repository, where it is none."""
    try:
        signature = OnnxModel(found[MODEL_FILE]).signature
        if SIGNATURE_FILE in found:
            check_signature(found[SIGNATURE_FILE].read_bytes(), found[MODEL_FILE], signature)
    except ModelError as error:
        what = error.message.replace(str(found[MODEL_FILE]), found[MODEL_FILE].name)
        raise ModelError(
            f"{repo} is no model that this version reads. {what}",
            hint="Nothing was written. Give one that 'threeages push' wrote.",
        ) from error
    return signature


def _check_folder(folder: Path, found: Mapping[str, Path]) -> None:
    """Raise ConfigError where the folder has a file of such a name with another content."""
    for name, path in found.items():
        place = folder / name
        if place.exists() and place.read_bytes() != path.read_bytes():
            raise ConfigError(f"{place} is there, and is another one.", hint="Give another --out.")


@contextmanager
def _open_staging(folder: Path) -> Iterator[Path]:
    """A folder beside the one to come, on the same disk, which goes when the block ends."""
    place = folder.resolve()
    staging = name_part(place)
    try:
        for left in find_leftovers(place):  # of processes that were killed
            shutil.rmtree(left)
        staging.mkdir(parents=True)
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
