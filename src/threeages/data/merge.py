"""Several manifests as one, so that data sets with different labels train together."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from threeages.data.manifest import IDENTITY, Manifest
from threeages.errors import DataError

SOURCE = "source"


def merge_manifests(manifests: Mapping[str, Manifest]) -> Manifest:
    """Join the rows of all manifests under their common root, with the manifest's name in `source`.

    A column that a manifest lacks is empty in its rows. In a manifest without identities every image gets its
    own identity `NAME:PATH`; a manifest with identities in some rows keeps its empty ones. Raises DataError
    where the images share no root folder or one image is in two manifests.
    """
    root = _common_root(manifests)
    names = [name for m in manifests.values() for name in m.columns if name not in {SOURCE, IDENTITY}]
    columns: dict[str, tuple[str, ...]] = {
        SOURCE: tuple(name for name, m in manifests.items() for _ in range(len(m))),
        IDENTITY: tuple(value for name, m in manifests.items() for value in _identities(name, m)),
    }
    for column in dict.fromkeys(names):
        columns[column] = tuple(
            value for m in manifests.values() for value in m.columns.get(column, ("",) * len(m))
        )
    paths = tuple(file.relative_to(root).as_posix() for m in manifests.values() for file in m.files())
    if len(set(paths)) < len(paths):
        twice = next(path for path, count in Counter(paths).items() if count > 1)
        raise DataError(f"{twice} is in more than one of the manifests.", hint="Keep its row in one.")
    return Manifest(root, paths, np.concatenate([m.labels for m in manifests.values()]), columns)


def _common_root(manifests: Mapping[str, Manifest]) -> Path:
    try:
        return Path(os.path.commonpath([m.root for m in manifests.values()]))
    except ValueError as error:  # different drives
        raise DataError(
            "The manifests' images share no root folder.", hint="Move them to one drive."
        ) from error


def _identities(name: str, manifest: Manifest) -> tuple[str, ...]:
    if manifest.identities() is None:
        return tuple(f"{name}:{path}" for path in manifest.paths)
    return manifest.columns[IDENTITY]
