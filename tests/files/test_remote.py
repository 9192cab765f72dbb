import sys
from pathlib import Path
from typing import Any

import pytest

from threeages.errors import DataError, MissingDependencyError
from threeages.files import remote
from threeages.files.remote import check_store, copy_remote, is_remote, match_remote, read_remote, walk_remote

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'threeages[cluster]'")


@pytest.mark.parametrize("text", ["s3://b/a.jpg", "GS://b", "file:///a", "memory://a"])
def test_addresses_of_a_store(text: str) -> None:
    assert is_remote(text)


@pytest.mark.parametrize("text", ["a.jpg", "s3:/b/a.jpg", "http://host/a.jpg", "rtsp://host", "C:\\a", ""])
def test_what_is_no_address_of_a_store(text: str) -> None:
    assert not is_remote(text)


def test_files_of_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("2.jpg", "1.jpg", "b/3.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    address = f"file://{tmp_path}"
    found = list(walk_remote(address))
    assert found == [f"{address}/{name}" for name in ("1.jpg", "2.jpg", "b/3.jpg")]
    assert read_remote(found[2]) == b"b/3.jpg"
    assert match_remote(f"{address}/*.jpg") == found[:2]
    copy_remote(found[0], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"1.jpg"
    with pytest.raises(FileNotFoundError):
        read_remote(f"{address}/none.jpg")


def test_a_read_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe("/a.jpg", b"content")
    failures = [ConnectionResetError(), RuntimeError("slow down")]
    store, path = remote._open_store("memory://a.jpg")
    monkeypatch.setattr(remote, "PAUSE", 0.0)

    class Failing:
        def cat_file(self, path: str) -> Any:
            if failures:
                raise failures.pop()
            return store.cat_file(path)

    monkeypatch.setattr(remote, "_open_store", lambda _: (Failing(), path))
    assert read_remote("memory://a.jpg") == b"content"
    failures += [RuntimeError("slow down")] * remote.TRIES
    with pytest.raises(DataError, match=r"Cannot read memory://a\.jpg: slow down"):
        read_remote("memory://a.jpg")


def test_a_store_whose_package_is_absent_is_read_by_arrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = pytest.importorskip("pyarrow.fs")
    local = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a.jpg").write_bytes(b"content")

    class Fake:
        @staticmethod
        def from_uri(address: str) -> tuple[Any, str]:
            return local, address.removeprefix("s3://")

    def lacks(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacks)
    monkeypatch.setattr("pyarrow.fs.FileSystem", Fake)
    assert list(walk_remote("s3://bucket")) == ["s3://bucket/a.jpg"]
    assert read_remote("s3://bucket/a.jpg") == b"content"
    with pytest.raises(FileNotFoundError):
        read_remote("s3://bucket/none.jpg")


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="Nothing that is installed reads adl://") as raised:
        check_store("adl://store/a.jpg")
    assert "adlfs" in raised.value.hint
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingDependencyError, match="fsspec") as missing:
        check_store("s3://bucket/a.jpg")
    assert "threeages[cluster]" in missing.value.hint
