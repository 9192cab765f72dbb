import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.audit import Audit, audit_manifest, write_audit
from threeages.data.importing.sources import import_source
from threeages.data.manifest import Manifest
from threeages.errors import DataError
from threeages.faces.images import Pixels, pixel_digest

DATA = Path(os.environ.get("THREEAGES_DATA", "../shared/data")) / "faces-age-detection"


def noise(seed: int, height: int = 48, width: int = 40) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def face(seed: int) -> Pixels:
    """Noise without its finest detail, as a photo has it."""
    return np.asarray(Image.fromarray(noise(seed, 16, 14)).resize((84, 96), Image.Resampling.BICUBIC))


def save(folder: Path, images: Mapping[str, Pixels | bytes]) -> Manifest:
    """Write arrays (as lossless PNG) or bytes under their names; a manifest lists them in order."""
    for name, image in images.items():
        if isinstance(image, bytes):
            (folder / name).write_bytes(image)
        else:
            Image.fromarray(image).save(folder / name)
    labels = np.arange(len(images)) % 3
    return Manifest(folder, tuple(images), labels.astype(np.int64))


def kinds(result: Audit, path: str) -> set[str]:
    return {f.kind for f in result.findings if f.path == path}


def run(manifest: Manifest) -> Audit:
    return audit_manifest(manifest, workers=1, progress=False)


def test_a_sound_image_has_no_finding(tmp_path: Path) -> None:
    result = run(save(tmp_path, {"a.png": noise(0), "b.png": noise(1)}))
    assert result.findings == ()
    assert (result.images, result.readable) == (2, 2)


def test_damage_is_named_by_its_status(tmp_path: Path) -> None:
    whole = save(tmp_path, {"a.png": noise(0)})
    Image.fromarray(noise(1)).save(tmp_path / "x.jpg")
    jpeg = (tmp_path / "x.jpg").read_bytes()
    manifest = save(tmp_path, {"empty.jpg": b"", "text.jpg": b"no image", "x.jpg": jpeg[: len(jpeg) // 2]})
    manifest = Manifest(tmp_path, (*manifest.paths, *whole.paths, "gone.jpg"), np.zeros(5, dtype=np.int64))
    result = run(manifest)
    assert kinds(result, "empty.jpg") == {"empty"}
    assert kinds(result, "text.jpg") == {"not_an_image"}
    assert kinds(result, "x.jpg") == {"truncated"}
    assert kinds(result, "gone.jpg") == {"missing"}
    assert result.readable == 1


def test_quality_checks_fire_alone(tmp_path: Path) -> None:
    smooth = np.repeat(np.linspace(60, 200, 48).astype(np.uint8)[:, None], 40, axis=1)
    images = {
        "tiny.png": noise(0, 31, 31),
        "wide.png": noise(1, 40, 81),
        "blur.png": np.stack([smooth, smooth // 2, smooth // 3], axis=-1),
        "dark.png": noise(2) // 5,
        "grey.png": noise(3)[:, :, :1].repeat(3, axis=2),
    }
    result = run(save(tmp_path, images))
    found = {path: kinds(result, path) for path in images}
    assert found == {
        "tiny.png": {"tiny"},
        "wide.png": {"odd_aspect"},
        "blur.png": {"low_sharpness"},
        "dark.png": {"dark"},
        "grey.png": {"grey"},
    }


def test_exact_duplicates_are_of_pixels_not_bytes_and_conflicts_are_named(tmp_path: Path) -> None:
    same = noise(0)
    manifest = save(tmp_path, {"a.png": same, "b.bmp": same, "c.png": noise(1), "d.png": same})
    result = run(manifest)  # labels 0, 1, 2, 0
    assert result.exact_duplicates == (("a.png", "b.bmp", "d.png"),)
    assert result.label_conflicts == result.exact_duplicates
    assert result.near_duplicates == ()
    agreed = Manifest(tmp_path, manifest.paths, np.asarray([0, 0, 2, -1]))
    assert run(agreed).label_conflicts == ()


def test_near_duplicates_are_found_and_unlike_images_are_not(tmp_path: Path) -> None:
    image = np.asarray(Image.fromarray(noise(0, 8, 9)).resize((90, 80), Image.Resampling.BICUBIC))
    brighter = (image.astype(int) * 0.9 + 10).astype(np.uint8)
    result = run(save(tmp_path, {"a.png": image, "b.png": noise(5), "c.png": brighter}))
    assert result.near_duplicates == (("a.png", "c.png"),)
    assert result.exact_duplicates == ()


def test_near_duplicates_with_different_labels_are_a_conflict(tmp_path: Path) -> None:
    image = face(0)
    manifest = save(
        tmp_path, {"a.png": image, "b.png": image // 2, "c.png": image[:, ::-1], "d.png": face(1)}
    )
    result = run(manifest)  # labels 0, 1, 2, 0
    assert result.label_conflicts == (("a.png", "b.png", "c.png"),)
    assert {"near_duplicate", "label_conflict"} <= kinds(result, "b.png")
    same = Manifest(tmp_path, manifest.paths, np.asarray([1, 1, -1, 0]))
    assert run(same).label_conflicts == ()


def test_a_conflict_of_exact_and_near_duplicates_is_one_set(tmp_path: Path) -> None:
    images = {"a.png": face(0), "b.png": face(0), "c.png": face(0)[4:-4, 4:-4]}
    manifest = Manifest(tmp_path, save(tmp_path, images).paths, np.asarray([0, 1, 0]))
    result = run(manifest)
    assert result.exact_duplicates == (("a.png", "b.png"),)
    assert result.near_duplicates == result.label_conflicts == (("a.png", "b.png", "c.png"),)


def test_extra_files_are_images_beside_listed_ones(tmp_path: Path) -> None:
    manifest = save(tmp_path, {"a.png": noise(0)})
    save(tmp_path, {"more.PNG": noise(1)})
    (tmp_path / "notes.txt").write_text("no image")
    result = run(manifest)
    assert [(f.kind, f.path) for f in result.findings] == [("extra_file", "more.PNG")]
    assert result.passed_over == {".txt": 1}


def test_extra_files_follow_the_rules_of_every_walk(tmp_path: Path) -> None:
    manifest = save(tmp_path, {"a.png": noise(0)})
    save(tmp_path, {"._a.png": noise(1)})
    (tmp_path / "b").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "Thumbs.db").touch()
    result = run(manifest)
    assert [(f.kind, f.path) for f in result.findings] == [("extra_file", "b")]
    assert result.passed_over == {"hidden": 1, "system": 1}


def test_counts_and_resolution(tmp_path: Path) -> None:
    result = run(save(tmp_path, {"a.png": noise(0, 40, 50), "b.png": noise(1, 60, 100)}))
    assert result.class_counts == {"YOUNG": 1, "MIDDLE": 1, "OLD": 0}
    assert result.resolution["width"] == {"min": 50, "max": 100, "mean": 75, "median": 75}
    assert result.resolution["height"]["max"] == 60


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    manifest = save(tmp_path, {"a.png": noise(0), "b.png": noise(0), "c.png": b""})
    many = manifest.select([i % 3 for i in range(600)])  # fewer are read without processes
    assert audit_manifest(many, workers=2, progress=False) == run(many)


def test_written_files_hold_every_finding(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    result = run(save(tmp_path / "images", {"a.png": noise(0), "b.png": noise(0), "c.png": b""}))
    write_audit(result, tmp_path / "out")
    with (tmp_path / "out" / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["kind"], r["path"]) for r in rows] == [(f.kind, f.path) for f in result.findings]
    written = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert written == result.to_dict()
    assert written["counts"] == {"exact_duplicate": 2, "label_conflict": 2, "empty": 1}


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        run(Manifest(tmp_path, (), np.zeros(0, dtype=np.int64)))


def test_pixel_digest_knows_shape_and_content() -> None:
    pixels = noise(0, 4, 6)
    assert len(pixel_digest(pixels)) == 16
    assert pixel_digest(pixels) == pixel_digest(np.asfortranarray(pixels))
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(6, 4, 3))
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_digest(changed) != pixel_digest(pixels)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the film faces are not at {DATA}")
def test_the_film_faces(tmp_path: Path) -> None:
    manifest = import_source(str(DATA), out=tmp_path / "m.csv").manifest
    result = audit_manifest(manifest, progress=False)
    assert result.readable == len(manifest) == 19_906
    assert len(result.exact_duplicates) == 194
    assert len(result.label_conflicts) == 3
