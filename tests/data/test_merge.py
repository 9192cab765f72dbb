from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.cache import open_cache, open_near_duplicates
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.merge import merge_manifests
from threeages.data.split import create_split
from threeages.data.synthetic import write_face_set
from threeages.errors import DataError


def _manifest(root: Path, n: int, **columns: tuple[str, ...]) -> Manifest:
    return Manifest(root, tuple(f"{i}.png" for i in range(n)), np.arange(n) % 3, columns)


def test_sets_with_different_columns_become_one(tmp_path: Path) -> None:
    films = _manifest(tmp_path / "films", 2, identity=("p1", "p1"), pose=("front", "left"))
    years = _manifest(tmp_path / "years", 3, age=("7", "20", "60"))
    both = merge_manifests({"films": films, "years": years})
    assert both.files() == [*films.files(), *years.files()]
    assert both.labels.tolist() == [0, 1, 0, 1, 2]
    assert both.columns["source"] == ("films", "films", "years", "years", "years")
    assert both.columns["age"] == ("", "", "7", "20", "60")
    assert both.columns["pose"] == ("front", "left", "", "", "")


def test_without_identities_every_image_gets_its_own(tmp_path: Path) -> None:
    films = _manifest(tmp_path / "films", 3, identity=("p1", "p1", ""))
    both = merge_manifests({"films": films, "years": _manifest(tmp_path / "years", 2)})
    assert both.columns["identity"] == ("p1", "p1", "", "years:0.png", "years:1.png")


def test_one_image_in_two_manifests_is_refused(tmp_path: Path) -> None:
    same = _manifest(tmp_path, 2)
    with pytest.raises(DataError, match="more than one"):
        merge_manifests({"a": same, "b": same})


def test_a_source_that_a_manifest_states_is_kept(tmp_path: Path) -> None:
    portraits = _manifest(tmp_path / "a", 3, source=("lfw", "", "appa-real"), age_low=("", "50", ""))
    both = merge_manifests({"portraits": portraits, "own": _manifest(tmp_path / "b", 1)})
    assert both.columns["source"] == ("lfw", "portraits", "appa-real", "own")
    assert both.columns["age_low"] == ("", "50", "", "")


def test_identities_of_different_sets_never_collide(tmp_path: Path) -> None:
    films = _manifest(tmp_path / "films", 3, identity=("p1", "p2", ""))
    more = _manifest(tmp_path / "more", 2, identity=("p1", "p3"))
    both = merge_manifests({"films": films, "more": more})
    assert both.columns["identity"] == ("films:p1", "p2", "", "more:p1", "p3")


def test_parts_of_one_set_share_their_identities(tmp_path: Path) -> None:
    parts = {
        name: _manifest(tmp_path / name, 2, identity=("p1", name), source=(source, source))
        for name, source in (("train", "set"), ("test", "set"), ("other", "else"))
    }
    found = merge_manifests(parts).columns["identity"]
    assert found == ("train:p1", "train", "train:p1", "test", "other:p1", "other")


def test_a_copy_in_another_source_stays_on_the_side_of_its_original(tmp_path: Path) -> None:
    first = load_manifest(write_face_set(tmp_path / "first", identities=15, per_identity=4))
    folder = tmp_path / "second"
    folder.mkdir()
    for number in range(8):  # exact copies, and copies compressed once more
        file = first.files()[4 * number]
        if number % 2:
            Image.open(file).save(folder / f"{number}.jpg", quality=60)
        else:
            (folder / f"{number}.jpg").write_bytes(file.read_bytes())
    second = Manifest(folder, tuple(f"{i}.jpg" for i in range(8)), first.labels[:32:4], {})
    both = merge_manifests({"first": first, "second": second})
    cache = open_cache(both, 32, folder=tmp_path / "cache", workers=1)
    for fold in range(3):
        split = create_split(both, cache.digests, fold=fold, folds=3, near=open_near_duplicates(cache))
        side = np.zeros(len(both), dtype=int)
        for number, rows in enumerate((split.train, split.validation, split.test)):
            side[rows] = number
        copies = [i for i, source in enumerate(both.columns["source"]) if source == "second"]
        assert [side[i] for i in copies] == [side[4 * number] for number in range(8)]
        assert (split.leaked_duplicates, split.leaked_near_duplicates) == (0, 0)
