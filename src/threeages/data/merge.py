"""Several manifests as one, so that data sets with different labels train together."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from threeages.data.columns import SOURCE
from threeages.data.manifest import IDENTITY, Manifest
from threeages.data.terms import list_sources
from threeages.errors import DataError


def merge_manifests(manifests: Mapping[str, Manifest]) -> Manifest:
    """Join the rows of all manifests under their common root; `source` says which set a row is of.

    A source that a manifest states is kept, else it is the manifest's name. A column that a manifest lacks is
    empty in its rows. In a manifest without identities every image gets its own identity `NAME:PATH`; a
    manifest with identities in some rows keeps its empty ones. An identity that stands in several manifests
    is one person where they share a source of it, else it becomes `NAME:IDENTITY` in each. Raises DataError
    where the images share no root folder or one image is in two manifests.
    """
    root = _common_root(manifests)
    sources = {name: list_sources(m, name) for name, m in manifests.items()}
    names = [name for m in manifests.values() for name in m.columns if name not in {SOURCE, IDENTITY}]
    columns: dict[str, tuple[str, ...]] = {
        SOURCE: tuple(chain.from_iterable(sources.values())),
        IDENTITY: _join_identities(manifests, sources),
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


def _join_identities(
    manifests: Mapping[str, Manifest], sources: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    cells = {name: _identities(name, manifest) for name, manifest in manifests.items()}
    renamed = find_collisions(cells, sources)
    return tuple(renamed.get((name, who), who) for name, people in cells.items() for who in people)


def find_collisions(
    cells: Mapping[str, Sequence[str]], sources: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], str]:
    """New identities by manifest and identity, for those that name different people in two manifests.

    `cells` and `sources` hold the identity and the source of every row by manifest. Manifests with a source
    of an identity in common mean one person by it.
    """
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, people in cells.items():
        for who, source in zip(people, sources[name], strict=True):
            if who:
                seen[who][name].add(source)
    renamed: dict[tuple[str, str], str] = {}
    for who, found in seen.items():
        same = _group_names(found)
        if len(set(same.values())) > 1:
            renamed |= {(name, who): f"{first}:{who}" for name, first in same.items()}
    return renamed


def _group_names(found: Mapping[str, set[str]]) -> dict[str, str]:
    """The first manifest of those that share a source, by manifest."""
    groups: list[tuple[str, list[str], set[str]]] = []
    for name, sources in found.items():
        joined = [group for group in groups if group[2] & sources]
        groups = [group for group in groups if not group[2] & sources]
        first = joined[0][0] if joined else name
        names = [n for group in joined for n in group[1]] + [name]
        groups.append((first, names, sources.union(*(group[2] for group in joined))))
    return {name: first for first, names, _ in groups for name in names}


def _identities(name: str, manifest: Manifest) -> tuple[str, ...]:
    if manifest.identities() is None:
        return tuple(f"{name}:{path}" for path in manifest.paths)
    return manifest.columns[IDENTITY]
