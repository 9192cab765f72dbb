from pathlib import Path

import numpy as np
import pytest

from threeages.data.cache import open_cache
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.sources import import_source
from threeages.data.split import create_split
from threeages.errors import DataError


def test_people_stand_on_one_side(faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv)
    digests = open_cache(manifest, 32, folder=faces_csv.parent / "cache").digests
    seen = []
    for fold in range(5):
        split = create_split(manifest, digests, "identity", fold=fold)
        sides = [set(manifest.identities()[rows]) for rows in (split.train, split.validation, split.test)]
        assert sum(map(len, sides)) == len(set().union(*sides))
        assert split.straddling == 0
        seen.append(split.test)
    assert sorted(np.concatenate(seen)) == list(range(len(manifest)))


def test_people_who_share_an_image_are_one(faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv)
    digests = np.random.default_rng(0).integers(0, 256, (len(manifest), 16), dtype=np.uint8)
    digests[5] = digests[0]  # persons 0 and 1
    for fold in range(5):
        split = create_split(manifest, digests, "identity", fold=fold)
        assert (0 in split.test) == (5 in split.test)


def test_random_counts_straddling_twins(faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv)
    digests = np.zeros((len(manifest), 16), dtype=np.uint8)
    split = create_split(manifest, digests, "random")
    assert split.straddling == len(split.test) == 24


def test_without_people_it_stops(faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv)
    nameless = Manifest(manifest.root, manifest.paths, manifest.labels)
    with pytest.raises(DataError, match="needs a person"):
        create_split(nameless, np.zeros((len(manifest), 16), dtype=np.uint8), "identity")


@pytest.mark.realdata
def test_random_is_the_reference_studys(data_root: Path, tmp_path: Path) -> None:
    manifest = import_source(str(data_root / "faces-age-detection"), out=tmp_path / "faces.csv").manifest
    digests = np.random.default_rng(0).integers(0, 256, (len(manifest), 16), dtype=np.uint8)
    split = create_split(manifest, digests, "random")
    assert len(split.test) == 3982
    assert round(float((manifest.labels[split.test] == 1).mean()), 4) == 0.5477
