"""Several manifests as one: sets with different labels train together."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from threeages.data.manifest import IDENTITY, Manifest
from threeages.errors import DataError

SOURCE = "source"


def merge(manifests: Mapping[str, Manifest]) -> Manifest:
    """The rows of all manifests under their common root, with their name in the column `source`.

    A column that a manifest lacks is empty in its rows. In a manifest that knows no person every image
    stands alone as `NAME:PATH` in `identity`, as nothing says which belong together; one that knows some
    persons only is left as it is. Raises DataError where the images share no root folder.
    """
    root = _common_root(manifests)
    names = [name for m in manifests.values() for name in m.columns if name not in {SOURCE, IDENTITY}]
    columns: dict[str, tuple[str, ...]] = {
        SOURCE: tuple(name for name, m in manifests.items() for _ in range(len(m))),
        IDENTITY: tuple(value for name, m in manifests.items() for value in _people(name, m)),
    }
    for column in dict.fromkeys(names):
        columns[column] = tuple(
            value for m in manifests.values() for value in m.columns.get(column, ("",) * len(m))
        )
    paths = tuple(file.relative_to(root).as_posix() for m in manifests.values() for file in m.files())
    if len(set(paths)) < len(paths):
        raise DataError("An image stands in more than one of the manifests.", hint="Keep it in one.")
    return Manifest(root, paths, np.concatenate([m.labels for m in manifests.values()]), columns)


def _common_root(manifests: Mapping[str, Manifest]) -> Path:
    try:
        return Path(os.path.commonpath([m.root for m in manifests.values()]))
    except ValueError as error:  # other drives
        raise DataError(
            "The manifests' images share no root folder.", hint="Move them to one drive."
        ) from error


def _people(name: str, manifest: Manifest) -> tuple[str, ...]:
    if manifest.identities() is None:
        return tuple(f"{name}:{path}" for path in manifest.paths)
    return manifest.columns[IDENTITY]
