import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from threeages.faces.folders import describe_passed_over, find_images, is_image, match_images

FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"]


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def _names(folder: Path, **options: int) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder, **options).images]


def _save(path: Path, kind: str = "JPEG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path, kind)
    return path


def test_the_nearest_images_come_first_each_once(tmp_path: Path) -> None:
    _touch(tmp_path, "b.jpg", "a/z.PNG", "a/b/c.jpeg", "c.tif", "a.b/d.jpg")
    assert _names(tmp_path) == ["b.jpg", "c.tif", "a/z.PNG", "a/b/c.jpeg", "a.b/d.jpg"]
    assert _names(tmp_path, depth=0) == ["b.jpg", "c.tif"]
    assert _names(tmp_path, depth=1) == ["b.jpg", "c.tif", "a/z.PNG", "a.b/d.jpg"]


@pytest.mark.parametrize(
    "name", ["a.jfif", "a.jpe", "a.mpo", "a.pgm", "a.JPG", "a.heic", "a.avif", "a.pnm", "a.dib"]
)
def test_unusual_suffixes_of_images_count_even_where_the_file_is_damaged(tmp_path: Path, name: str) -> None:
    assert _names(_touch(tmp_path, name)) == [name]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["3f2a9c", "photo.jpg?w=200", "a.dat", "scan.2024", "x.bin"])
def test_content_decides_where_the_suffix_says_nothing(tmp_path: Path, kind: str, name: str) -> None:
    assert is_image(_save(tmp_path / name, kind))


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_heic_and_avif_without_suffix_are_images(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(8))
    assert is_image(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\0\0\0\x18ftypisom" + bytes(8))  # a film
    assert not is_image(tmp_path / "a")


def test_what_is_no_image_is_counted_by_kind(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "n.txt", "m.TXT", "noext", "x.zip", "c.cr2", "d.jpg.part", "e.jpg~", "f.svg",
           "g.jpg_original")  # fmt: skip
    found = find_images(tmp_path)
    assert [path.name for path in found.images] == ["a.jpg"]
    assert found.passed_over() == {
        ".txt": 2, "no suffix": 1, ".zip": 1, "camera raw (.cr2)": 1, "unfinished or backup": 3, ".svg": 1,
    }  # fmt: skip
    assert ".zip" not in found.passed_over(tmp_path / "x.zip")


def test_a_partial_download_and_a_raw_file_are_no_images_by_their_content(tmp_path: Path) -> None:
    assert not is_image(_save(tmp_path / "a.jpg.crdownload"))
    assert not is_image(_save(tmp_path / "a.dng", "TIFF"))
    assert not is_image(_save(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [(".hidden.jpg", "hidden"), ("._a.jpg", "hidden"), (".thumbnails/a.jpg", "hidden"),
     (".git/a.png", "hidden"),
     ("__MACOSX/._a.jpg", "system"), ("__MACOSX/a.jpg", "system"), ("Thumbs.db", "system"),
     ("sub/thumbs.DB", "system"), ("desktop.ini", "system"), ("@eaDir/a.jpg", "system"),
     ("$RECYCLE.BIN/a.jpg", "system")],
)  # fmt: skip
def test_names_of_systems_and_hidden_names_are_skipped(tmp_path: Path, name: str, kind: str) -> None:
    found = find_images(_touch(tmp_path, "a.jpg", name))
    assert [path.name for path in found.images] == ["a.jpg"]
    assert found.skipped == {kind: 1}


def test_a_hidden_folder_that_is_named_is_walked(tmp_path: Path) -> None:
    assert _names(_touch(tmp_path / ".cache" / "faces", "a.jpg")) == ["a.jpg"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    _touch(tmp_path / "store", "x/b.jpg", "c.jpg")
    folder = _touch(tmp_path / "set", "z/a.jpg")
    (folder / "link").symlink_to(tmp_path / "store")
    (folder / "also").symlink_to(tmp_path / "store")
    (folder / "a").symlink_to(folder / "z")  # its own path wins over the link, though that comes first
    found = find_images(folder)
    assert _names(folder) == ["also/c.jpg", "also/x/b.jpg", "z/a.jpg"]
    assert found.skipped == {"folder reached twice": 2}


def test_loops_end(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "set", "a.jpg", "b/c.jpg")
    _touch(tmp_path, "outside.jpg")
    (folder / "self").symlink_to(folder)
    (folder / "b" / "up").symlink_to("..")
    (folder / "above").symlink_to(tmp_path)
    (folder / "root").symlink_to("/")
    (folder / "end").symlink_to("end")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    found = find_images(folder)
    assert _names(folder) == ["a.jpg", "b/c.jpg"]
    assert found.skipped == {"folder reached twice": 4, "broken link": 1, "unreadable": 1}


def test_links_to_files_count_each(tmp_path: Path) -> None:
    blob = _save(tmp_path / "blobs" / "5f3e")
    folder = _touch(tmp_path / "snapshot", "young/.keep", "old/.keep")
    for name in ("young/a.jpg", "old/b.jpg", "old/nosuffix"):
        (folder / name).symlink_to(blob)
    assert _names(folder) == ["old/b.jpg", "old/nosuffix", "young/a.jpg"]


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert find_images(tmp_path).skipped == {"special file": 1}


def _matches(folder: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in match_images(f"{folder}/{pattern}").images)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]), ("*", ["a.jpg"]), ("*/*.jpg", ["sub/c.jpg"]),
        ("**/*.jpg", ["a.jpg", "sub/c.jpg", "sub/x/d.jpg"]),
        ("**", ["a.jpg", "sub/c.jpg", "sub/x/d.jpg"]), ("sub/**/*", ["sub/c.jpg", "sub/x/d.jpg"]),
        ("**/x/*", ["sub/x/d.jpg"]), ("**/[ad].*", ["a.jpg", "sub/x/d.jpg"]), ("*/**/d.jpg", ["sub/x/d.jpg"]),
        ("s?b/c*", ["sub/c.jpg"]), ("none/**/*", []), ("**/*.png", []),
    ],
)  # fmt: skip
def test_patterns_follow_the_same_rules(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    _touch(tmp_path, "a.jpg", "Thumbs.db", "n.txt", "__MACOSX/b.jpg", "sub/c.jpg", "sub/x/d.jpg", ".h/e.jpg")
    assert _matches(tmp_path, pattern) == expected


def test_what_a_pattern_passes_over_is_counted(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "Thumbs.db", "n.txt", "__MACOSX/b.jpg")
    assert match_images(f"{tmp_path}/*").passed_over() == {"system": 2, ".txt": 1}
    assert match_images(f"{tmp_path}/**/*").passed_over() == {"system": 2, ".txt": 1}


def test_a_pattern_over_loops_ends(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "sub/b.jpg")
    for name in ("one", "two", "sub/three"):
        (tmp_path / name).symlink_to(tmp_path)
    assert _matches(tmp_path, "**/*.jpg") == ["a.jpg", "sub/b.jpg"]


def test_one_line_names_the_commonest_kinds() -> None:
    assert describe_passed_over(Counter()) == ""
    assert describe_passed_over(Counter({".txt": 1200, "hidden": 2})) == "Passed over: .txt 1,200, hidden 2."
    many = Counter({f".{letter}": 1 for letter in "abcdefghijkl"})
    assert describe_passed_over(many).endswith("others 4.")
