import json
import os
import stat
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from threeages.data import archive
from threeages.data.archive import extract_archive
from threeages.data.columns import ColumnNames
from threeages.data.manifest import load_manifest
from threeages.data.sources import ImportResult, import_source
from threeages.errors import DataError, MissingDependencyError
from threeages.labels import UNKNOWN, AgeBounds

DATA = Path(os.environ.get("THREEAGES_DATA", "../shared/data"))
KAGGLE_CSV = "ID,Class\n7.jpg,OLD\n3.jpg,YOUNG\n5.jpg,MIDDLE\n"


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Files by relative path; the import never opens an image, so a few bytes stand for one."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def write_table(folder: Path, text: str, images: str = "a b c d e f", name: str = "faces.csv") -> Path:
    """A csv with images a.jpg, b.jpg and so on beside it."""
    write(folder, {name: text} | {f"{image}.jpg": "x" for image in images.split()})
    return folder / name


def kaggle_files(prefix: str = "", images: str = "Train") -> dict[str, str]:
    names = ("3.jpg", "5.jpg", "7.jpg")
    return {f"{prefix}train.csv": KAGGLE_CSV} | {f"{prefix}{images}/{n}": "x" for n in names}


def make_zip(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


def load(source: Path | str, tmp_path: Path, **options: Any) -> ImportResult:
    return import_source(str(source), out=tmp_path / "out" / "m.csv", cache_dir=tmp_path / "cache", **options)


@pytest.mark.parametrize("prefix", ["", "faces/", "a/b/faces/"])
def test_kaggle_folder_keeps_the_published_order(tmp_path: Path, prefix: str) -> None:
    result = load(write(tmp_path / "set", kaggle_files(prefix)), tmp_path)
    assert result.kind == "kaggle_folder"
    assert result.excluded == {}
    assert result.manifest.paths == ("Train/7.jpg", "Train/3.jpg", "Train/5.jpg")
    assert result.manifest.labels.tolist() == [2, 0, 1]
    assert all(file.is_file() for file in result.manifest.files())


def test_the_csv_and_the_images_may_lie_in_different_folders(tmp_path: Path) -> None:
    files = {"train.csv": KAGGLE_CSV} | {f"faces/Train/{n}.jpg": "x" for n in (3, 5, 7)}
    result = load(write(tmp_path / "set", files), tmp_path)
    assert all(file.is_file() for file in result.manifest.files())


@pytest.mark.parametrize("kept", [["3.jpg"], []])
def test_a_half_downloaded_set_is_refused(tmp_path: Path, kept: list[str]) -> None:
    files = {"train.csv": KAGGLE_CSV} | {f"Train/{n}": "x" for n in kept}
    with pytest.raises(DataError, match=rf"half-downloaded: {3 - len(kept)} of 3 .*7\.jpg"):
        load(write(tmp_path / "set", files), tmp_path)
    assert not (tmp_path / "out" / "m.csv").exists()


def test_the_saved_manifest_reads_back_with_its_provenance(tmp_path: Path) -> None:
    bounds = AgeBounds(10, 20, 30)
    result = load(write(tmp_path / "set", kaggle_files()), tmp_path, bounds=bounds)
    again = load_manifest(tmp_path / "out" / "m.csv")
    assert (again.root, again.paths) == (result.manifest.root, result.manifest.paths)
    sidecar = json.loads((tmp_path / "out" / "m.json").read_text())
    assert sidecar["kind"] == "kaggle_folder"
    assert sidecar["bounds"] == {"young": 10, "middle": 20, "old": 30}
    assert sidecar["excluded"] == {}
    assert len(sidecar["date"]) == 10


@pytest.mark.parametrize("column", ["identity", "person", "cluster_id"])
def test_identities_are_joined_by_file_name(tmp_path: Path, column: str) -> None:
    table = tmp_path / "identities.csv"
    table.write_text(f"ID,{column},film,year\n5.jpg,p1,f1,1990\n7.jpg,p2,,\n")
    manifest = load(write(tmp_path / "set", kaggle_files()), tmp_path, identities=table).manifest
    assert set(manifest.columns) == {"identity", "film", "year"}
    assert manifest.columns["identity"] == ("p2", "", "p1")
    assert manifest.columns["year"] == ("", "", "1990")


@pytest.mark.parametrize("text", ["ID,film\n5.jpg,f1\n", "person,film\np1,f1\n", "ID,person\n99.jpg,p1\n"])
def test_identities_that_do_not_fit_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "who.csv").write_text(text)
    with pytest.raises(DataError, match=r"who\.csv"):
        load(write(tmp_path / "set", kaggle_files()), tmp_path, identities=tmp_path / "who.csv")


def test_an_imported_csv_keeps_its_identities(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,label,person\na.jpg,OLD,p1\nb.jpg,OLD,p2\n")
    assert load(table, tmp_path).manifest.columns == {"identity": ("p1", "p2")}
    assert "identity" in (tmp_path / "out" / "m.csv").read_text().splitlines()[0]


def test_class_folders_in_any_case(tmp_path: Path) -> None:
    files = {"Young/a.jpg": "", "MIDDLE/b.png": "", "x/old/c.jpg": "", "other/d.jpg": "", "old/notes.txt": ""}
    result = load(write(tmp_path / "set", files), tmp_path)
    assert result.kind == "class_folders"
    rows = dict(zip(result.manifest.paths, result.manifest.labels.tolist(), strict=True))
    assert rows == {"Young/a.jpg": 0, "MIDDLE/b.png": 1, "x/old/c.jpg": 2}
    assert result.excluded == {"no_class_folder": 1}


def test_utkface_names(tmp_path: Path) -> None:
    names = [
        "12_0_1_20170109142408075.jpg.chip.jpg",  # below every group
        "13_0_1_20170109142408075.jpg.chip.jpg",
        "31_1_4_20170109142408075.jpg",
        "61_1_20170109142408075.jpg.chip.jpg",  # no race
        "55_0_0_20170116232725357jpg.chip.jpg",
        "_1_0_20170109142408075.jpg.chip.jpg",  # no age
        "holiday.jpg",
    ]
    result = load(write(tmp_path / "set", dict.fromkeys(names, "")), tmp_path)
    columns = result.manifest.columns
    assert result.kind == "utkface"
    assert result.excluded == {"under_13": 1, "no_age": 2}
    rows = zip(
        columns["age"], result.manifest.labels.tolist(), columns["gender"], columns["race"], strict=True
    )
    assert sorted(rows) == [
        ("13", 0, "MALE", "1"),
        ("31", 1, "FEMALE", "4"),
        ("55", 2, "MALE", "0"),
        ("61", 2, "FEMALE", ""),
    ]
    with_children = load(tmp_path / "set", tmp_path, children=True)
    assert with_children.excluded == {"no_age": 2}
    assert with_children.manifest.labels.tolist().count(UNKNOWN) == 1
    assert len(with_children.manifest) == len(result.manifest) + 1


@pytest.mark.parametrize("header", ["path,label", "ID,Class", "Image,AGE_GROUP", "filename,Label"])
def test_csv_names_of_columns(tmp_path: Path, header: str) -> None:
    table = write_table(tmp_path, f"{header},camera\na.jpg,old,x\nb.jpg,0,y\nc.jpg,baby,z\n")
    result = load(table, tmp_path)
    assert (result.kind, result.excluded) == ("csv", {"bad_label": 1})
    assert result.manifest.labels.tolist() == [2, 0]
    assert result.manifest.columns == {"camera": ("x", "y")}


def test_csv_of_years(tmp_path: Path) -> None:
    table = write_table(tmp_path, "file,age\na.jpg,17.9\nb.jpg,18\nc.jpg,40\nd.jpg,\ne.jpg,nan\nf.jpg,999\n")
    result = load(table, tmp_path, bounds=AgeBounds(18, 31, 51))
    assert result.excluded == {"under_18": 1, "no_age": 3}
    assert result.manifest.labels.tolist() == [0, 1]
    assert result.manifest.columns["age"] == ("18", "40")


def test_a_named_age_column_wins_over_a_label(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,label,years\na.jpg,YOUNG,70\n")
    manifest = load(table, tmp_path, columns=ColumnNames(age="years")).manifest
    assert manifest.labels.tolist() == [2]
    assert manifest.columns == {"age": ("70",), "source_label": ("YOUNG",)}
    with pytest.raises(DataError, match="no column 'born'"):
        load(table, tmp_path, columns=ColumnNames(age="born"))


def test_csv_rows_that_no_manifest_may_hold_are_counted(tmp_path: Path) -> None:
    table = tmp_path / "set" / "faces.csv"
    inside = tmp_path / "set" / "abs.jpg"
    rows = f"a.jpg,0\n../b.jpg,0\n/etc/c.jpg,0\n,0\na.jpg,1\n{inside},2\nd.jpg,\n"
    write_table(tmp_path / "set", f"path,label\n{rows}", "a abs d")
    result = load(table, tmp_path)
    assert result.manifest.paths == ("a.jpg", "abs.jpg")
    assert result.excluded == {"outside_root": 2, "no_path": 1, "duplicate_row": 1, "no_label": 1}
    assert len(load_manifest(tmp_path / "out" / "m.csv")) == 2


def test_a_manifest_can_be_imported_again(tmp_path: Path) -> None:
    first = load(write(tmp_path / "set", kaggle_files()), tmp_path).manifest
    again = import_source(str(tmp_path / "out" / "m.csv"), out=tmp_path / "again.csv").manifest
    assert (again.root, again.paths) == (first.root, first.paths)
    with pytest.raises(DataError, match="its own source"):
        import_source(str(tmp_path / "again.csv"), out=tmp_path / "again.csv")


@pytest.mark.parametrize(
    "name", ["nowhere", "notes.txt", "empty", "bad.csv", "kaggle:oops", "kaggle:a/b/../c"]
)
def test_unknown_sources_say_what_is_allowed(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"notes.txt": "x", "bad.csv": "a,b\n1,2\n"})
    (tmp_path / "empty").mkdir()
    source = name if name.startswith("kaggle:") else tmp_path / name
    with pytest.raises(DataError) as caught:
        load(source, tmp_path)
    assert caught.value.hint


def test_zip_of_the_kaggle_layout(tmp_path: Path) -> None:
    files = kaggle_files("faces/") | {"__MACOSX/faces/Train/._3.jpg": "junk"}
    result = load(make_zip(tmp_path / "archive.zip", files), tmp_path)
    assert result.kind == "kaggle_folder"
    assert all(file.is_file() and tmp_path in file.parents for file in result.manifest.files())


def test_extraction_is_reused_only_when_whole(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "archive.zip", {"a.txt": "a"})
    target = extract_archive(source, cache_dir=tmp_path / "cache")
    (target / "a.txt").write_text("kept")
    assert extract_archive(source, cache_dir=tmp_path / "cache") == target
    assert (target / "a.txt").read_text() == "kept"
    (target / ".complete").unlink()
    assert extract_archive(source, cache_dir=tmp_path / "cache") == target
    assert (target / "a.txt").read_text() == "a"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [target.name]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt"]
)
def test_a_member_that_escapes_is_refused_by_name(tmp_path: Path, name: str) -> None:
    source = make_zip(tmp_path / "bad.zip", {"good.txt": "x", name: "x"})
    with pytest.raises(DataError, match=r"evil\.txt"):
        extract_archive(source, cache_dir=tmp_path / "cache" / "deep")
    assert not list(tmp_path.rglob("*.txt"))


def test_a_link_is_refused_by_name(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(link, "/etc/hostname")
    with pytest.raises(DataError, match=r"link\.txt"):
        extract_archive(tmp_path / "bad.zip", cache_dir=tmp_path / "cache")


def test_a_huge_zip_is_refused_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    source = make_zip(tmp_path / "bomb.zip", {"a.txt": "0" * 1001})
    with pytest.raises(DataError, match="would unpack"):
        extract_archive(source, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_a_damaged_zip_leaves_nothing_behind(tmp_path: Path, damage: str) -> None:
    source = tmp_path / "bad.zip"
    with zipfile.ZipFile(source, "w") as file:
        file.writestr("a.txt", "a" * 500)
    data = bytearray(source.read_bytes())
    if damage == "flip":
        data[100] ^= 0xFF
    source.write_bytes({"cut": bytes(data[:300]), "flip": bytes(data), "text": b"no zip"}[damage])
    with pytest.raises(DataError, match="damaged zip"):
        load(source, tmp_path)
    assert not list(tmp_path.glob("cache/*")) + list(tmp_path.glob("cache/.*"))


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, download: Callable[[str], str]) -> None:
    module = types.ModuleType("kagglehub")
    vars(module)["dataset_download"] = download
    monkeypatch.setitem(sys.modules, "kagglehub", module)


def test_kaggle_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "set", kaggle_files("faces/"))
    fake_kagglehub(monkeypatch, {"owner/the-set": str(folder)}.__getitem__)
    assert len(load("kaggle:owner/the-set", tmp_path).manifest) == 3


def test_kaggle_out_of_reach_points_to_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: str) -> str:
        raise ConnectionError("no route")

    fake_kagglehub(monkeypatch, fail)
    with pytest.raises(
        DataError, match=r"no route\n.*by hand from https://www\.kaggle\.com/datasets/owner/set"
    ):
        load("kaggle:owner/set", tmp_path)


def test_kaggle_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[kaggle\]"):
        load("kaggle:owner/set", tmp_path)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the research data is not at {DATA}")
def test_the_film_faces_with_identities(tmp_path: Path) -> None:
    folder = DATA / "faces-age-detection"
    result = load(folder, tmp_path, identities=folder / "train_people.csv")
    assert Counter(result.manifest.labels.tolist()) == {0: 6706, 1: 10804, 2: 2396}
    assert result.manifest.paths[0] == "Train/377.jpg"
    assert len(set(result.manifest.columns["identity"])) == 91


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the research data is not at {DATA}")
def test_utkface_is_imported_whole(tmp_path: Path) -> None:
    result = load(DATA / "utkface", tmp_path)
    assert len(result.manifest) + sum(result.excluded.values()) == 19_023
    assert set(result.excluded) == {"under_13"}
