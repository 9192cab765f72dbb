from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from threeages.data.manifest import load_manifest
from threeages.data.synthetic import draw_face, write_face_set
from threeages.errors import DataError
from threeages.faces.images import load_image
from threeages.labels import AgeBounds


def _mean_face(age: float, identity: int) -> NDArray[np.float64]:
    faces = [draw_face(age, identity, np.random.default_rng(i), 64) for i in range(24)]
    return np.asarray(np.mean(faces, axis=0))


@pytest.mark.parametrize("size", [32, 96, 200])
def test_shape_and_type(size: int) -> None:
    face = draw_face(40, 1, np.random.default_rng(0), size)
    assert face.shape == (size, size, 3)
    assert face.dtype == np.uint8
    assert face.std() > 15  # neither blank nor blown out


def test_same_draw_is_same_face_and_another_differs() -> None:
    first = draw_face(40, 1, np.random.default_rng(0))
    assert (first == draw_face(40, 1, np.random.default_rng(0))).all()
    assert (first != draw_face(40, 1, np.random.default_rng(1))).any()


def test_age_and_identity_show_beyond_chance() -> None:
    young, old, other = _mean_face(20, 3), _mean_face(75, 3), _mean_face(20, 4)
    chance = np.abs(
        young - np.mean([draw_face(20, 3, np.random.default_rng(i), 64) for i in range(90, 114)], 0)
    )
    assert np.abs(young - old).mean() > 1.5 * chance.mean()
    assert np.abs(young - other).mean() > 1.5 * chance.mean()


def test_hair_greys() -> None:
    def colour(age: float) -> float:
        crown = _mean_face(age, 4)[9:12, 28:36]
        return float(np.ptp(crown.mean((0, 1))))

    assert colour(80) < 0.5 * colour(20)


def test_set_is_balanced_and_labels_follow_ages(faces_csv: Path, faces_dir: Path) -> None:
    manifest = load_manifest(faces_csv)
    assert len(manifest) == 24 * 5
    assert np.bincount(manifest.labels).tolist() == [40, 40, 40]
    assert [AgeBounds().label(float(a)) for a in manifest.columns["age"]] == manifest.labels.tolist()
    identities = manifest.identities()
    assert identities is not None
    assert len(set(identities)) == 24
    assert all(len(set(manifest.labels[identities == c])) == 1 for c in set(identities))
    assert manifest.root == faces_dir.resolve()
    assert load_image(manifest.files()[0]).shape == (96, 96, 3)


def test_same_seed_same_bytes_and_a_set_is_kept(tmp_path: Path) -> None:
    sets = [
        write_face_set(tmp_path / n, identities=3, per_identity=1, seed=s)
        for n, s in (("a", 1), ("b", 1), ("c", 2))
    ]
    images = [[f.read_bytes() for f in load_manifest(s).files()] for s in sets]
    assert images[0] == images[1] != images[2]
    load_manifest(sets[0]).files()[0].write_bytes(b"mine")
    assert write_face_set(tmp_path / "a", identities=3, per_identity=1) == sets[0]
    assert load_manifest(sets[0]).files()[0].read_bytes() == b"mine"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="other files"):
        write_face_set(tmp_path / "mine", identities=3, per_identity=1)
    assert (tmp_path / "mine" / "photo.jpg").read_bytes() == b"x"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert len(load_manifest(write_face_set(tmp_path / "new", identities=3, per_identity=1))) == 3


def test_stopped_midway_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("threeages.data.synthetic.save_manifest", lambda *_, **__: stop())
    with pytest.raises(KeyboardInterrupt):
        write_face_set(tmp_path / "a", identities=3, per_identity=1)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        write_face_set(tmp_path / "file" / "a", identities=3, per_identity=1)
