from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest
from threeages.data.merge import merge_manifests
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
