from pathlib import Path
from typing import Any

import pytest

from threeages.errors import ConfigError, ImageError
from threeages.inference.bulk.listings import ListingReader
from threeages.inference.bulk.parquets import count_rows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def _write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_a_column_of_paths(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"path": ["a.jpg", None, "b.jpg"]})
    one, none, two = ListingReader().read(path)
    assert (one.content, two.content) == (Path("a.jpg"), Path("b.jpg"))
    assert none.name == f"{path}/1"
    assert isinstance(none.content, ImageError)
    assert count_rows(path) == 3


def test_a_column_of_images(tmp_path: Path) -> None:
    images = [bytes([i]) for i in range(150)]
    path = _write(tmp_path / "a.parquet", {"image": images, "key": [f"k{i}" for i in range(150)]})
    found = list(ListingReader().read(path))
    assert [source.content for source in found] == images
    assert [source.name for source in found] == [f"{path}/{i}" for i in range(150)]
    named = ListingReader(id_column="key").read(path)
    assert [source.name for source in named] == [f"{path}/k{i}" for i in range(150)]


def test_images_as_hugging_face_holds_them(tmp_path: Path) -> None:
    rows = [{"bytes": b"x", "path": "x.jpg"}, {"bytes": None, "path": "y.jpg"}]
    path = _write(tmp_path / "a.parquet", {"image": rows})
    held, named = ListingReader().read(path)
    assert (held.name, held.content, named.content) == (f"{path}/0", b"x", Path("y.jpg"))


def test_a_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"path": [1, 2]})
    with pytest.raises(ConfigError, match="of the type int64") as raised:
        list(ListingReader().read(path))
    assert "--column" in raised.value.hint
    with pytest.raises(ConfigError, match="no column 'key'"):
        list(ListingReader(id_column="key").read(path))


def test_a_damage_costs_its_row_group(tmp_path: Path) -> None:
    images = [bytes([i]) * 500 for i in range(200)]
    options = {"row_group_size": 50, "compression": "none", "use_dictionary": False}
    path = _write(tmp_path / "a.parquet", {"image": images}, write_page_checksum=True, **options)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(images[120]) + 9] ^= 255
    path.write_bytes(damaged)
    reader = ListingReader()
    found = {source.name: source.content for source in reader.read(path)}
    assert found == {f"{path}/{i}": images[i] for i in range(200) if f"{path}/{i}" in found}
    assert not {f"{path}/{i}" for i in (*range(100), *range(150, 200))} - set(found)
    assert f"{path}/120" not in found
    (problem,) = reader.problems
    assert str(path) in problem.message


def test_a_cut_file_is_a_problem(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.parquet", {"path": ["a.jpg"]})
    path.write_bytes(path.read_bytes()[:-20])
    reader = ListingReader()
    assert list(reader.read(path)) == []
    assert "cannot be read to its end" in reader.problems[0].message
    assert count_rows(path) is None
