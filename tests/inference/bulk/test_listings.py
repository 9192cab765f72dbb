import json
from pathlib import Path

import pytest

from threeages.errors import ConfigError, ImageError
from threeages.inference.bulk.listings import ListingReader, is_listing


def _write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_names_its_images(tmp_path: Path) -> None:
    path = _write(tmp_path / "l.csv", 'id;file_name\n1;a.jpg\n2;"b;c.jpg"\n3;\n')
    one, two, none = ListingReader().read(path)
    assert (one.name, one.content) == ("a.jpg", Path("a.jpg"))
    assert two.name == "b;c.jpg"
    assert none.name == f"{path}/4"
    assert isinstance(none.content, ImageError)
    assert none.content.status == "missing"


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    (source,) = ListingReader().read(_write(tmp_path / "l.csv", b"path,x\na\xff.jpg,1\n"))
    assert isinstance(source.content, Path)
    assert bytes(source.content) == b"a\xff.jpg"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path, encoding: str) -> None:
    path = _write(tmp_path / "l.csv", "sep=;\r\npath;x\r\n\u00fc.jpg;1\r\nb.jpg;2\r\n".encode(encoding))
    assert [source.name for source in ListingReader().read(path)] == ["\u00fc.jpg", "b.jpg"]


def test_a_bad_line_of_json_costs_no_other_its_place(tmp_path: Path) -> None:
    lines = [json.dumps({"path": "a.jpg"}), "{bad", json.dumps("b.jpg"), "", json.dumps({"path": 3})]
    path = _write(tmp_path / "l.jsonl", "\n".join(lines))
    names = [source.name for source in ListingReader().read(path)]
    assert names == ["a.jpg", f"{path}/2", "b.jpg", f"{path}/5"]


def test_paths_are_relative_to_the_root(tmp_path: Path) -> None:
    path = _write(tmp_path / "l.csv", "path\na.jpg\n/abs/b.jpg\n")
    names = [source.name for source in ListingReader(root=tmp_path).read(path)]
    assert names == [str(tmp_path / "a.jpg"), str(Path("/abs/b.jpg"))]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "l.csv", "id,foto\n1,a.jpg\n")
    with pytest.raises(ConfigError, match="no column 'path'; it has id, foto") as raised:
        list(ListingReader().read(path))
    assert "--column" in raised.value.hint
    assert [source.name for source in ListingReader(column="foto").read(path)] == ["a.jpg"]


@pytest.mark.parametrize("name", ["none.csv", "none.jsonl"])
def test_what_cannot_be_read_is_kept_as_a_problem(tmp_path: Path, name: str) -> None:
    reader = ListingReader()
    assert list(reader.read(tmp_path / name)) == []
    assert name in reader.problems[0].message


def test_listings_are_known_by_their_names() -> None:
    assert all(map(is_listing, map(Path, ("a.CSV", "a.tar.gz", "a.tgz", "a.parquet", "a.jsonl"))))
    assert not any(map(is_listing, map(Path, ("a.jpg", "csv", "a.tar.jpg"))))
