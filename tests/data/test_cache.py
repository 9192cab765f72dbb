import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data import cache
from threeages.data.augmentation import DEFAULT_AUGMENTATION as DEFAULT
from threeages.data.augmentation import Augmentation
from threeages.data.manifest import Manifest, load_manifest
from threeages.demo import find_portraits
from threeages.errors import DataError
from threeages.faces.crop import align_crop
from threeages.faces.detect import find_faces
from threeages.faces.images import load_image, resize
from threeages.faces.yunet import YuNet
from threeages.files import disk


def test_pixels_are_those_of_the_predictor(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    found = cache.open_cache(manifest, 48, folder=tmp_path)
    assert found.pixels.shape == (len(manifest), 48, 48, 3)
    for row in (0, 57, len(manifest) - 1):
        assert (found.pixels[row] == resize(load_image(manifest.files()[row]), 48)).all()


def test_aligned_pixels_are_those_of_the_predictor_too(tmp_path: Path) -> None:
    portraits = find_portraits()
    blank = tmp_path / "blank.png"
    Image.new("RGB", (60, 60), "grey").save(blank)
    files = [*portraits, blank]
    root = Path(os.path.commonpath(files)).resolve()
    paths = tuple(str(file.resolve().relative_to(root)) for file in files)
    manifest = Manifest(root, paths, np.zeros(len(files), dtype=np.int64))
    found = cache.open_cache(manifest, 48, margin=0.03, alignment=0.85, folder=tmp_path / "aligned")
    plain = cache.open_cache(manifest, 48, folder=tmp_path / "plain")
    for row, file in enumerate(portraits):
        pixels = load_image(file)
        face = find_faces(pixels, YuNet())[0]
        assert (found.pixels[row] == align_crop(pixels, face, 48, margin=0.03, alignment=0.85)).all()
        assert (found.pixels[row] != plain.pixels[row]).any()
    assert (found.pixels[-1] == plain.pixels[-1]).all()  # without a face it is taken whole


def test_processes_give_the_same_as_one(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_manifest(faces_csv)
    monkeypatch.setattr(cache, "CHUNK", 40)
    one = cache.open_cache(manifest, 32, folder=tmp_path / "one", workers=1)
    two = cache.open_cache(manifest, 32, folder=tmp_path / "two", workers=2)
    assert (one.pixels == two.pixels).all()
    assert (one.digests == two.digests).all()


def test_a_second_opening_builds_nothing(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = load_manifest(faces_csv)
    cache.open_cache(manifest, 32, folder=tmp_path)
    monkeypatch.setattr(cache, "_build", None)
    cache.open_cache(manifest, 32, folder=tmp_path)


def test_failed_rows_are_named(bad_images: dict[str, Path], tmp_path: Path) -> None:
    files = list(bad_images.values())
    manifest = Manifest(files[0].parent, tuple(f.name for f in files), np.zeros(len(files), dtype=np.int64))
    assert list(cache.open_cache(manifest, 32, folder=tmp_path).failed.values()) == list(bad_images)


def test_a_full_disk_is_said_before_the_start(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="cache has 1 kB free"):
        cache.open_cache(load_manifest(faces_csv), 32, folder=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("[!.]*"))


def test_copies_stand_behind_one_another(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    plain = cache.open_cache(manifest, 32, folder=tmp_path)
    three = cache.open_cache(manifest, 32, copies=3, folder=tmp_path)
    n = len(manifest)
    assert three.pixels.shape == (3 * n, 32, 32, 3)
    assert (three.pixels[:n] == plain.pixels).all()
    assert (three.pixels[n : 2 * n] != plain.pixels).any()
    assert (three.digests == plain.digests).all()


def test_another_augmentation_is_another_cache_but_not_of_plain_pixels(
    faces_csv: Path, tmp_path: Path
) -> None:
    manifest = load_manifest(faces_csv)
    other = Augmentation(mirror=1.0)
    plain, same = (cache.open_cache(manifest, 32, augmentation=a, folder=tmp_path) for a in (DEFAULT, other))
    assert (plain.file, plain.key) == (same.file, same.key)
    first, second = (
        cache.open_cache(manifest, 32, copies=3, augmentation=a, folder=tmp_path) for a in (DEFAULT, other)
    )
    assert first.file != second.file
    assert len({plain.key, first.key, second.key}) == 3  # what is computed of the pixels has another name too
    assert (first.pixels != second.pixels).any()


def test_its_bar_is_on_stderr(faces_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.open_cache(load_manifest(faces_csv), 32, folder=tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Caching 120 images" in captured.err


def test_near_duplicates_are_found_once(
    faces_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(faces_csv.parent, tmp_path / "set")  # other tests count the fixture's images
    manifest = load_manifest(faces_csv)
    Image.fromarray(load_image(manifest.files()[5])[:, ::-1]).save(folder / "mirrored.png")
    more = Manifest(folder, (*manifest.paths, "mirrored.png"), np.append(manifest.labels, 0))
    found = cache.open_near_duplicates(cache.open_cache(more, 32, folder=tmp_path))
    assert [5, len(manifest)] in found.pairs.tolist()
    monkeypatch.setattr(cache, "find_near_duplicates", None)
    again = cache.open_near_duplicates(cache.open_cache(more, 32, folder=tmp_path))
    assert (again.pairs == found.pairs).all()
    assert (again.likeness == found.likeness).all()


def test_images_that_failed_are_near_to_nothing(bad_images: dict[str, Path], tmp_path: Path) -> None:
    files = list(bad_images.values())
    manifest = Manifest(files[0].parent, tuple(f.name for f in files), np.zeros(len(files), dtype=np.int64))
    assert cache.open_near_duplicates(cache.open_cache(manifest, 32, folder=tmp_path)).pairs.shape == (0, 2)
