from pathlib import Path

import pytest

from threeages.data.paths import FileFinder, common_folder, path_inside, root_hint


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a.jpg", "a.jpg"), ("./a//b.jpg", "a/b.jpg"), ("a\\b\\c.jpg", "a/b/c.jpg"), ("a/../b.jpg", "b.jpg"),
        ("../a.jpg", None), ("a/../../b.jpg", None), ("a\\..\\..\\b.jpg", None), ("/etc/passwd", None),
        ("C:\\faces\\a.jpg", None), ("C:/faces/a.jpg", None), ("\\\\server\\a.jpg", None), ("", None),
        (".", None), ("a\0b.jpg", None), ("a" * 5000, "a" * 5000), ("..a.jpg", "..a.jpg"),
    ],
)  # fmt: skip
def test_the_place_by_name_decides(tmp_path: Path, name: str, inside: str | None) -> None:
    assert path_inside(name, tmp_path) == inside


def test_absolute_paths_inside_become_relative(tmp_path: Path) -> None:
    root = (tmp_path / "set").resolve()
    _touch(root, "sub/a.jpg")
    (tmp_path / "alias").symlink_to(root)
    assert path_inside(f"{root}/sub/a.jpg", root) == "sub/a.jpg"
    assert path_inside(f"{tmp_path}/alias/sub/a.jpg", root) == "sub/a.jpg"
    assert path_inside(f"{root}/../b.jpg", root) is None


def test_a_link_inside_may_point_anywhere_but_dots_may_not_pass_through_it(tmp_path: Path) -> None:
    store = _touch(tmp_path / "store", "blob", "below/x.jpg")
    root = _touch(tmp_path / "set", "x.jpg")
    (root / "a.jpg").symlink_to(store / "blob")
    (root / "link").symlink_to(store / "below")
    assert path_inside("a.jpg", root) == "a.jpg"
    assert path_inside("link/x.jpg", root) == "link/x.jpg"
    assert path_inside("link/../x.jpg", root) == "x.jpg"  # not store/x.jpg
    assert path_inside("link/../../store/blob", root) is None


def test_a_backslash_in_a_name_that_exists_is_kept(tmp_path: Path) -> None:
    _touch(tmp_path, "a\\b.jpg")
    assert path_inside("a\\b.jpg", tmp_path) == "a\\b.jpg"


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.jpg", "a.jpg"), ("377", "377.jpg"), ("b.JPG", "b.jpg"), ("Ub.jpg", "ub.jpg"),
     ("u\u0308.jpg", "\u00fc.jpg"),
     ("deep", "sub/deep.png"), ("deep.png", "sub/deep.png"), ("sub/deep", "sub/deep.png"), ("none", None),
     ("both", None), ("no/deep", None), ("a", "a.jpg")],
)  # fmt: skip
def test_the_file_that_a_name_means(tmp_path: Path, name: str, found: str | None) -> None:
    _touch(
        tmp_path,
        "a.jpg",
        "377.jpg",
        "b.jpg",
        "ub.jpg",
        "\u00fc.jpg",
        "sub/deep.png",
        "x/both.jpg",
        "y/both.jpg",
    )
    assert FileFinder(tmp_path).find(name) == found


def test_a_folder_or_a_broken_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "b.jpg").symlink_to("nowhere")
    assert FileFinder(tmp_path).find("a.jpg") is FileFinder(tmp_path).find("b.jpg") is None


@pytest.mark.parametrize(
    ("names", "folder"),
    [(["/a/b/1.jpg", "/a/c/2.jpg", "../x.jpg"], "/a"), (["/a/1.jpg", "/b/2.jpg"], ""), (["../x"], ""),
     (["C:\\a\\1.jpg", "C:\\a\\b\\2.jpg"], "C:\\a")],
)  # fmt: skip
def test_what_absolute_paths_share(names: list[str], folder: str) -> None:
    assert common_folder(names) == folder


def test_the_hint_gives_the_folder_to_take(tmp_path: Path) -> None:
    assert root_hint([f"{tmp_path}/a.jpg"]).endswith(f"--root '{tmp_path}'.")
    assert "C:\\faces" in root_hint(["C:\\faces\\a.jpg"])
    assert "--root" in root_hint(["../a.jpg"])
