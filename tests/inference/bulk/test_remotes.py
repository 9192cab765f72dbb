import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from threeages.cli.inputs import _is_list, _read_listing, expand_sources
from threeages.errors import ImageError
from threeages.inference.bulk.listings import ListingReader
from threeages.inference.bulk.remotes import RemoteFile, read_remote_source
from threeages.inference.sources import Source

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'threeages[cluster]'")


@pytest.fixture
def store() -> Iterator[str]:
    """A folder in a store in memory."""
    memory = fsspec.filesystem("memory")
    files = {"a.jpg": b"a", "b/c.jpg": b"c", "b/.hidden.jpg": b"", "notes.txt": b"x"}
    for name, content in files.items():
        memory.pipe(f"/photos/{name}", content)
    yield "memory:///photos"
    memory.rm("/", recursive=True)


def _read(address: str, reader: ListingReader) -> dict[str, object]:
    found = read_remote_source(address, reader, _is_list, _read_listing)
    return {str(source.name): source.content for source in found if isinstance(source, Source)}


def test_the_images_of_a_folder(store: str) -> None:
    reader = ListingReader()
    found = _read(store, reader)
    assert {name: content.load() for name, content in found.items() if isinstance(content, RemoteFile)} == {
        f"{store}/a.jpg": b"a",
        f"{store}/b/c.jpg": b"c",
    }
    assert reader.passed_over == {"hidden": 1, ".txt": 1}
    assert list(_read(f"{store}/*.jpg", reader)) == [f"{store}/a.jpg"]
    assert list(_read(f"{store}/a.jpg", reader)) == [f"{store}/a.jpg"]
    assert not reader.problems


def test_a_listing_in_a_store_and_a_root_there(store: str) -> None:
    listing = f'path\na.jpg\n{store}/b/c.jpg\n""\n'.encode()
    fsspec.filesystem("memory").pipe("/lists/l.csv", listing)
    found = _read("memory:///lists/l.csv", ListingReader(root=store))
    assert list(found) == [f"{store}/a.jpg", f"{store}/b/c.jpg", "memory:///lists/l.csv/4"]


def test_a_tar_in_a_store(store: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"content" * 200)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "x.jpg", "x.jpg")
        tar.add(tmp_path / "x.jpg", "y.jpg")
    content = (tmp_path / "a.tar").read_bytes()
    fsspec.filesystem("memory").pipe("/tars/a.tar", content[:3000])
    reader = ListingReader(by_part=True)
    assert _read("memory:///tars/a.tar", reader) == {"memory:///tars/a.tar/x.jpg": b"content" * 200}
    assert reader.problems[0].message.startswith("memory:///tars/a.tar cannot be read to its end")


def test_what_is_not_there_is_a_problem_of_the_reader(store: str) -> None:
    for address in (f"{store}/none", f"{store}/none/*.jpg", f"{store}/none.csv"):
        reader = ListingReader()
        assert _read(address, reader) == {}
        assert address in reader.problems[0].message
    failed = RemoteFile(f"{store}/none.jpg").load()
    assert isinstance(failed, ImageError)
    assert failed.status == "missing"


def test_a_list_on_disk_names_addresses(store: str, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(f"{store}/a.jpg\n\n'{store}/b/c.jpg'\nlocal.jpg\n")
    found = list(expand_sources([str(tmp_path / "l.txt"), store], io.StringIO()))
    names = [source.name if isinstance(source, Source) else source for source in found]
    images = [f"{store}/a.jpg", f"{store}/b/c.jpg"]
    assert names == [*images, Path("local.jpg"), *images]
