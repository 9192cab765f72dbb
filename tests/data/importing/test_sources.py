import json
import os
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from threeages.data.columns import ColumnNames
from threeages.data.importing.sources import ImportResult, import_source
from threeages.data.manifest import load_manifest
from threeages.data.stored.entries import LOCKS
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
    assert set(manifest.columns) == {"identity", "film", "year", "source"}
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
    assert [path.name for path in tmp_path.glob("cache/*")] == [LOCKS]


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
        DataError, match=r"no route.\n.*by hand from https://www\.kaggle\.com/datasets/owner/set"
    ):
        load("kaggle:owner/set", tmp_path)


def test_kaggle_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[kaggle\]"):
        load("kaggle:owner/set", tmp_path)


def rows_of(result: ImportResult) -> dict[str, int]:
    return dict(zip(result.manifest.paths, result.manifest.labels.tolist(), strict=True))


def test_class_folders_in_common_spellings(tmp_path: Path) -> None:
    names = [
        "Middle-aged/a.jpg",
        "middle_age/b.jpg",
        "Senior/c.jpg",
        "elderly/d",
        "Young Adults/e.jfif",
        "adult/f.jpg",
    ]
    result = load(write(tmp_path / "set", dict.fromkeys(names, "x")), tmp_path)
    assert result.kind == "class_folders"
    assert rows_of(result) == {names[0]: 1, names[1]: 1, names[2]: 2, names[4]: 0}
    assert result.excluded == {"no_class_folder": 1}
    assert any("'adult' (1)" in note and "--map 'adult=MIDDLE'" in note for note in result.notes)
    assert result.passed_over == {"no suffix": 1}
    mapped = load(tmp_path / "set", tmp_path, mapping={"adult": 1})
    assert rows_of(mapped)["adult/f.jpg"] == 1
    assert mapped.notes == ()


def test_folders_that_stand_for_no_group_are_named_with_the_option(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", dict.fromkeys(("adult/a.jpg", "adult/b.jpg", "child/c.jpg"), "x"))
    with pytest.raises(DataError, match=r"'adult' 2, 'child' 1; --map NAME=YOUNG"):
        load(folder, tmp_path)
    assert rows_of(load(folder, tmp_path, mapping={"adult": 1})) == {"adult/a.jpg": 1, "adult/b.jpg": 1}


def test_folders_of_indices(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", {f"train/{i}/{i}.jpg": "x" for i in range(3)})
    result = load(folder, tmp_path)
    assert (result.kind, rows_of(result)) == ("class_folders", {f"train/{i}/{i}.jpg": i for i in range(3)})


def test_folders_of_ages_and_ranges(tmp_path: Path) -> None:
    names = ["020/a.jpg", "age_40/b.jpg", "60+/c.jpg", "20-29/d.jpg", "25-32/e.jpg", "5/f.jpg", "misc/g.jpg"]
    result = load(write(tmp_path / "set", dict.fromkeys(names, "x")), tmp_path)
    assert result.kind == "age_folders"
    assert rows_of(result) == {
        "020/a.jpg": 0,
        "age_40/b.jpg": 1,
        "60+/c.jpg": 2,
        "20-29/d.jpg": 0,
        "25-32/e.jpg": UNKNOWN,
    }
    assert result.excluded == {"under_13": 1, "no_class_folder": 1}
    columns = dict(
        zip(
            result.manifest.paths,
            zip(*map(result.manifest.columns.get, ("age", "age_low", "age_high")), strict=True),
            strict=True,
        )
    )  # type: ignore[arg-type]
    assert columns == {
        "020/a.jpg": ("020", "", ""),
        "age_40/b.jpg": ("40", "", ""),
        "60+/c.jpg": ("", "60", ""),
        "20-29/d.jpg": ("", "20", "29"),
        "25-32/e.jpg": ("", "25", "32"),
    }
    assert any("'25-32' (1)" in note and "--bounds" in note for note in result.notes)
    assert any("'misc' (1)" in note for note in result.notes)


def test_a_csv_beside_numbered_folders_wins(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", {"25/a.jpg": "x", "labels.csv": "file_name,label\n25/a.jpg,OLD\n"})
    assert rows_of(load(folder, tmp_path)) == {"25/a.jpg": 2}
    (folder / "labels.csv").write_text("note\nx\n")
    assert rows_of(load(folder, tmp_path)) == {"25/a.jpg": 0}


def test_linked_class_folders_and_images_keep_their_labels(tmp_path: Path) -> None:
    store = write(tmp_path / "store", {"blob1": "x", "more/b.jpg": "x"})
    folder = write(tmp_path / "set", {"young/.keep": ""})
    (folder / "young" / "a.jpg").symlink_to(store / "blob1")
    (folder / "old").symlink_to(store / "more")
    result = load(folder, tmp_path)
    assert rows_of(result) == {"young/a.jpg": 0, "old/b.jpg": 2}
    assert load_manifest(tmp_path / "out" / "m.csv").paths == result.manifest.paths
    table = write(tmp_path / "t", {"m.csv": "path,label\na.jpg,OLD\n../store/blob1,OLD\n"}) / "m.csv"
    (tmp_path / "t" / "a.jpg").symlink_to(store / "blob1")
    assert rows_of(load(table, tmp_path)) == {"a.jpg": 2}


def test_ages_as_a_spreadsheet_writes_them(tmp_path: Path) -> None:
    text = "File Name;Age\nA.jpg;25,5\nb;40 years\nsub\\c.jpg;(60, 100)\nd.jpg;more than 70\n"
    text += "e.jpg;Oct-19\nf.jpg;25-32\n"
    table = write_table(tmp_path, text, "a b sub/c d e f")
    result = load(table, tmp_path)
    assert rows_of(result) == {"a.jpg": 0, "b.jpg": 1, "sub/c.jpg": 2, "d.jpg": 2, "f.jpg": UNKNOWN}
    assert result.manifest.columns == {
        "age": ("25.5", "40", "", "", ""),
        "age_low": ("", "", "60", "71", "25"),
        "age_high": ("", "", "100", "", "32"),
    }
    assert result.excluded == {"no_age": 1}
    assert any("'Oct-19' (1)" in note for note in result.notes)


def test_labels_that_did_not_match_are_named_and_mapped(tmp_path: Path) -> None:
    table = write_table(
        tmp_path, "image,label\na.jpg,Adult\nb.jpg,adult\nc.jpg,child\nd.jpg,25-30\ne.jpg,Senior\n"
    )
    result = load(table, tmp_path)
    assert rows_of(result) == {"d.jpg": 0, "e.jpg": 2}
    assert result.excluded == {"bad_label": 3}
    assert "'Adult' (1), 'adult' (1), 'child' (1)" in result.notes[0]
    assert rows_of(load(table, tmp_path, mapping={"adult": 1})) == {
        "a.jpg": 1,
        "b.jpg": 1,
        "d.jpg": 0,
        "e.jpg": 2,
    }


def test_columns_can_be_named(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,photo,group,years_old,label\nx,a.jpg,OLD,20,?\n")
    named = load(table, tmp_path, columns=ColumnNames(path="Photo", label="group", age="years_old"))
    assert rows_of(named) == {"a.jpg": 2}
    assert named.manifest.columns == {"age": ("20",), "source_path": ("x",), "source_label": ("?",)}


def test_ids_without_suffix_are_found_in_a_subfolder(tmp_path: Path) -> None:
    table = write_table(tmp_path, "image_id,label\n000001,OLD\n000002,YOUNG\n", "img/000001 img/000002")
    assert rows_of(load(table, tmp_path)) == {"img/000001.jpg": 2, "img/000002.jpg": 0}


def test_missing_files_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,label\na.jpg,OLD\nx.jpg,OLD\ny.jpg,OLD\n")
    result = load(table, tmp_path)
    assert (rows_of(result), result.excluded) == ({"a.jpg": 2}, {"missing": 2})
    assert "There are 2 missing files, first x.jpg" in result.notes[0]
    table = write_table(tmp_path / "elsewhere", "path,label\na.jpg,OLD\n", "z")
    with pytest.raises(DataError, match=r"There is 1 missing file, first a.jpg .*--root"):
        load(table, tmp_path)
    assert rows_of(load(table, tmp_path, root=tmp_path)) == {"a.jpg": 2}


def test_absolute_paths_are_told_with_the_root_to_give(tmp_path: Path) -> None:
    images = write(tmp_path / "images", {"a.jpg": "x"})
    table = write_table(tmp_path / "set", f"path,label\n{images}/a.jpg,OLD\n", "")
    with pytest.raises(DataError, match=rf"--root '{images}'"):
        load(table, tmp_path)
    assert rows_of(load(table, tmp_path, root=images)) == {"a.jpg": 2}


def test_a_root_is_for_a_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no csv"):
        load(write(tmp_path / "set", kaggle_files()), tmp_path, root=tmp_path)


def test_identities_without_suffix_and_with_folders(tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("file_name;person\n5;p1\nTrain\\7.jpg;p2\n")
    manifest = load(
        write(tmp_path / "set", kaggle_files()), tmp_path, identities=tmp_path / "who.csv"
    ).manifest
    assert manifest.columns["identity"] == ("p2", "", "p1")


def test_kaggle_ids_may_lack_their_suffix(tmp_path: Path) -> None:
    files = kaggle_files() | {"train.csv": KAGGLE_CSV.replace(".jpg", "").replace(",", ";")}
    assert load(write(tmp_path / "set", files), tmp_path).manifest.paths == (
        "Train/7.jpg",
        "Train/3.jpg",
        "Train/5.jpg",
    )


def test_a_parquet_is_imported(tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": "x", "b.jpg": "x"})
    table = pyarrow.table({"file_name": ["a.jpg", "b.jpg"], "age": [20.5, 60.0]})
    parquet.write_table(table, tmp_path / "faces.parquet")
    assert rows_of(load(tmp_path / "faces.parquet", tmp_path)) == {"a.jpg": 0, "b.jpg": 2}


def test_a_spreadsheet_says_how_to_save_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CSV UTF-8"):
        load(make_zip(tmp_path / "faces.xlsx", {"xl/workbook.xml": "x"}), tmp_path)


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
