import json
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from threeages.data.manifest import load_manifest, read_manifest, save_manifest
from threeages.errors import DataError, MissingDependencyError
from threeages.labels import UNKNOWN


def test_round_trip(tmp_path: Path, faces_csv: Path) -> None:
    first = load_manifest(faces_csv)
    save_manifest(first, tmp_path / "copy.csv")
    second = load_manifest(tmp_path / "copy.csv")
    assert second.root == first.root
    assert second.paths == first.paths
    assert second.columns == first.columns
    assert (second.labels == first.labels).all()


def test_faulty_rows_are_named_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,label\na.jpg,YOUNG\nb.jpg,elder\n../c.jpg,OLD\na.jpg,OLD\n,OLD\nd.jpg,old\n")
    manifest, faults = read_manifest(path)
    assert manifest.paths == ("a.jpg", "d.jpg")
    assert [(f.line, f.status) for f in faults] == [
        (3, "bad_label"), (4, "outside_root"), (5, "duplicate_row"), (6, "no_path")
    ]  # fmt: skip
    with pytest.raises(DataError, match="line 3"):
        load_manifest(path)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "path\nx.jpg\n", ""])
def test_missing_columns_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match="label"):
        read_manifest(tmp_path / "a.csv")


def test_other_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path,label\n\xff\xfe\x00,YOUNG\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_manifest(tmp_path / "a.csv")


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label,note\na.jpg,OLD,\n\n\nb.jpg,elder,\n")
    assert [f.line for f in read_manifest(tmp_path / "a.csv")[1]] == [5]


def test_impossible_paths_are_faults(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop" / "x")
    (tmp_path / "a.csv").write_text("path,label\na\0b.jpg,OLD\n/etc/passwd,OLD\na.jpg,OLD\n")
    manifest, faults = read_manifest(tmp_path / "a.csv")
    assert [f.status for f in faults] == ["outside_root"] * 2
    assert manifest.paths == ("a.jpg",)


def test_root_is_given_then_sidecar_then_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,label\na.jpg,OLD\n")
    assert load_manifest(path).root == tmp_path.resolve()
    (tmp_path / "a.json").write_text(json.dumps({"root": str(tmp_path / "images")}))
    assert load_manifest(path).root == (tmp_path / "images").resolve()
    assert load_manifest(path, root=tmp_path / "other").root == (tmp_path / "other").resolve()
    (tmp_path / "a.json").write_text("[1]")  # of something else
    assert load_manifest(path).root == tmp_path.resolve()


@pytest.mark.parametrize("damage", [b'{"root": "/im', b"", bytes(40), b"\xff\xfe"])
def test_a_damaged_sidecar_is_no_other_root_in_silence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,label\na.jpg,OLD\n")
    (tmp_path / "a.json").write_bytes(damage)
    with pytest.raises(DataError, match=r"a\.json is damaged") as raised:
        load_manifest(path)
    assert "delete a.json" in raised.value.hint
    assert load_manifest(path, root=tmp_path / "other").root == (tmp_path / "other").resolve()


def test_sidecar_keeps_where_the_rows_came_from(tmp_path: Path, faces_csv: Path) -> None:
    save_manifest(load_manifest(faces_csv), tmp_path / "a.csv", provenance={"source": "drawn"})
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert (sidecar["source"], sidecar["rows"]) == ("drawn", len(load_manifest(faces_csv)))


def test_no_rows_and_no_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="no rows"):
        load_manifest(tmp_path / "a.csv")
    with pytest.raises(DataError, match="Cannot read"):
        load_manifest(tmp_path / "none.csv")


def test_labels_may_lack_where_not_needed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\na.jpg,\nb.jpg,2\n")
    assert load_manifest(tmp_path / "a.csv", need_label=False).labels.tolist() == [UNKNOWN, 2]
    with pytest.raises(DataError, match="bad_label"):
        load_manifest(tmp_path / "a.csv")


def test_select_keeps_rows_and_columns_together(faces_csv: Path) -> None:
    whole = load_manifest(faces_csv)
    part = whole.select([7, 2])
    assert part.paths == (whole.paths[7], whole.paths[2])
    assert part.columns["age"] == (whole.columns["age"][7], whole.columns["age"][2])
    assert part.labels.tolist() == [whole.labels[7], whole.labels[2]]


def test_bom_of_a_spreadsheet_is_no_part_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfpath,label\r\na.jpg,YOUNG\r\n")
    assert load_manifest(tmp_path / "a.csv").paths == ("a.jpg",)


def test_parquet_holds_the_same_rows(faces_csv: Path, tmp_path: Path) -> None:
    manifest = load_manifest(faces_csv)
    save_manifest(manifest, tmp_path / "faces.parquet")
    found = load_manifest(tmp_path / "faces.parquet")
    assert (found.root, found.paths, found.columns) == (manifest.root, manifest.paths, manifest.columns)
    assert (found.labels == manifest.labels).all()


def test_numbers_and_nulls_in_parquet_are_text(tmp_path: Path) -> None:
    table = pyarrow.table({"path": ["a", "b", "c"], "label": [0, None, 2], "age": [20.5, None, 60.0]})
    parquet.write_table(table, tmp_path / "m.parquet")
    found, faults = read_manifest(tmp_path / "m.parquet")
    assert found.columns == {"age": ("20.5", "60.0")}
    assert [(f.line, f.status) for f in faults] == [(3, "bad_label")]


def test_what_is_no_parquet_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.parquet").write_text("path,label")
    with pytest.raises(DataError, match="not a parquet file"):
        load_manifest(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="Cannot read"):
        load_manifest(tmp_path / "none.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"threeages\[parquet\]"):
        load_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("person", {"identity": ("b",)}),
        ("cluster_id", {"identity": ("b",)}),
        ("person,cluster_id", {"person": ("b",), "identity": ("c",)}),
        ("person,identity", {"person": ("b",), "identity": ("c",)}),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_aliases_of_identity_are_read_and_not_written(
    tmp_path: Path, header: str, expected: dict[str, tuple[str, ...]], suffix: str
) -> None:
    cells = dict(zip(f"path,label,{header}".split(","), ["a.jpg", "OLD", "b", "c"], strict=False))
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        path.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    else:
        parquet.write_table(pyarrow.table({name: [cell] for name, cell in cells.items()}), path)
    found = load_manifest(path)
    assert found.columns == expected
    save_manifest(found, tmp_path / "again.csv")
    assert set((tmp_path / "again.csv").read_text().splitlines()[0].split(",")) == {
        "path",
        "label",
        *expected,
    }


@pytest.mark.parametrize(
    ("header", "separator"),
    [
        ("Path,Label", ","),
        (" File Name ; CLASS ", ";"),
        ("image_id\tAge Group", "\t"),
        ("FILENAME|label", "|"),
    ],
)
def test_usual_names_of_columns_in_every_dialect(tmp_path: Path, header: str, separator: str) -> None:
    (tmp_path / "a.csv").write_text(
        f"{header}{separator}Age\nsub\\a.jpg{separator}Middle-aged{separator}45,5 years\n"
    )
    if separator == ",":
        (tmp_path / "a.csv").write_text(f'{header},Age\nsub\\a.jpg,Middle-aged,"45,5"\n')
    for need_label in (True, False):
        found = load_manifest(tmp_path / "a.csv", need_label=need_label)
        assert (found.paths, found.labels.tolist(), found.columns) == (
            ("sub/a.jpg",),
            [1],
            {"age": ("45.5",)},
        )


def test_a_class_of_something_else_is_no_label_where_none_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,class\na.jpg,actor\nb.jpg,OLD\n")
    found = load_manifest(tmp_path / "a.csv", need_label=False)
    assert found.labels.tolist() == [UNKNOWN, UNKNOWN]
    assert found.columns == {"class": ("actor", "OLD")}


def test_linked_images_are_legal_and_dots_are_not(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blob").touch()
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jpg").symlink_to(tmp_path / "store" / "blob")
    (folder / "linked").symlink_to(tmp_path / "store")
    (folder / "m.csv").write_text(
        "path,label\na.jpg,OLD\nlinked/blob,OLD\nlinked/../store/blob,OLD\n../store/blob,OLD\n"
    )
    found, invalid = read_manifest(folder / "m.csv")
    assert found.paths == ("a.jpg", "linked/blob", "store/blob")  # the third is no file: dots go by name
    assert [row.status for row in invalid] == ["outside_root"]


def test_a_linked_manifest_has_the_links_folder_as_root(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("path,label\na.jpg,OLD\n")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "m.csv").symlink_to(tmp_path / "blob")
    assert load_manifest(tmp_path / "snapshot" / "m.csv").root == (tmp_path / "snapshot").resolve()


def test_absolute_paths_are_told_with_the_root_to_give(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "m.csv").write_text(f"path,label\n{images}/a.jpg,OLD\n{images}/b.jpg,OLD\n")
    with pytest.raises(DataError, match=rf"--root '{images}'"):
        load_manifest(tmp_path / "set" / "m.csv")
    assert load_manifest(tmp_path / "set" / "m.csv", root=images).paths == ("a.jpg", "b.jpg")


def test_one_image_in_two_spellings_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"path,label\na.jpg,OLD\n./a.jpg,OLD\n{tmp_path}/a.jpg,OLD\n")
    found, invalid = read_manifest(tmp_path / "a.csv")
    assert found.paths == ("a.jpg",)
    assert [row.status for row in invalid] == ["duplicate_row"] * 2


def test_a_folder_in_place_of_a_manifest_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder, not a manifest\.\n.*threeages data import"):
        load_manifest(tmp_path)
