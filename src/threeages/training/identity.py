"""What a run is of, its data as digests and its settings: a folder takes no other."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threeages.data.cache import PixelCache
from threeages.data.columns import AGE, AGE_HIGH, AGE_LOW
from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.errors import ConfigError
from threeages.files.checksums import checksum
from threeages.files.writing import as_json
from threeages.models.weights import find_file

DataDigests = dict[str, str]  # by what they are of: images, labels, split; files of weights
RANGES = frozenset({AGE_LOW, AGE_HIGH})  # learned with the age
NAMES = {
    "images": "other images",
    "labels": "other labels",
    "split": "another split",
    "weights": "other weights",
    "teacher": "another teacher",
}


def describe_data(
    manifest: Manifest, split: Split, images: PixelCache, columns: Sequence[str] = ()
) -> DataDigests:
    """Digests of the images' pixels and paths, of the labels with the `columns` learned, and of the split."""
    learned = {*columns, *(RANGES & manifest.columns.keys() if AGE in columns else ())}
    cells = [repr(manifest.columns.get(name, ())).encode() for name in sorted(learned)]
    sides = (split.train, split.validation, split.test)
    return {
        "images": _digest(repr(manifest.paths).encode(), images.digests.tobytes()),
        "labels": _digest(manifest.labels.tobytes(), *cells),
        "split": _digest(*(side.tobytes() for side in sides)),
    }


def describe_files(named: Mapping[str, tuple[str, str | None]]) -> DataDigests:
    """Digests of the files that settings name, by name of setting; none for weights that are no file.

    `named` holds the network and the value of each setting, a file or a folder (models.weights.find_file).
    Raises ModelError where a folder has no such file.
    """
    given = {name: (network, value) for name, (network, value) in named.items() if value}
    files = {name: find_file(network, Path(value)) for name, (network, value) in given.items() if value}
    return {name: checksum(file) for name, file in files.items() if file.is_file()}


def describe_changes(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The settings that differ, with both values; '' where none does. Tuples and lists are the same."""
    before, now = as_json(dict(saved)), as_json(dict(given))
    differing = [name for name in before | now if before.get(name) != now.get(name)]
    return ", ".join(f"{name} is {before.get(name)} there, {now.get(name)} here" for name in differing)


def check_data(saved: Mapping[str, str] | None, found: DataDigests, place: Path) -> None:
    """Raise ConfigError, which says what differs, where `place` holds the state of other data.

    A state without digests is of a release before them, and is refused as well.
    """
    if not saved:
        raise ConfigError(
            f"{place} was made by an earlier release, which kept no digests of its data.",
            hint="Give another --out, or remove it to start over.",
        )
    differing = [NAMES[name] for name, digest in found.items() if saved.get(name) != digest]
    if differing:
        raise ConfigError(
            f"{place} was made with {' and '.join(differing)}.",
            hint="Give another --out, or remove it to start over.",
        )


def _digest(*parts: bytes) -> str:
    whole = hashlib.blake2b(digest_size=12)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()
