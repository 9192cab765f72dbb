from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.manifest import atomic_path, load_manifest, read_manifest, save_manifest


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


def test_nothing_is_written_half(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail_half_way() -> None:
        with atomic_path(tmp_path / "a.txt") as part:
            part.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"), atomic_path(tmp_path / "file" / "a.csv"):
        pass
