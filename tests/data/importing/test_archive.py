import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from threeages.data.importing import archive
from threeages.data.importing.archive import extract_archive, is_archive
from threeages.data.importing.sources import import_source
from threeages.data.stored.entries import CHECKSUMS, LOCKS
from threeages.errors import DataError


def make_zip(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return path


def files_in(folder: Path) -> list[str]:
    """What is in a cache folder but for its locks."""
    return [path.name for path in folder.glob("*") if path.name != LOCKS]


def test_extraction_is_reused_only_when_whole(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "archive.zip", {"a.txt": "a"})
    target = extract_archive(source, cache_dir=tmp_path / "cache")
    (target / "more.txt").touch()
    assert extract_archive(source, cache_dir=tmp_path / "cache") == target
    assert (target / "more.txt").exists()
    (target / "a.txt").write_text("damaged")
    assert extract_archive(source, cache_dir=tmp_path / "cache") == target
    assert (target / "a.txt").read_text() == "a"
    assert files_in(tmp_path / "cache") == [target.name]


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
    assert not files_in(tmp_path / "cache")


def make_tar(path: Path, members: Mapping[str, str | tuple[bytes, str]]) -> Path:
    """A tar of files by text, and of links and special files by type and target."""
    mode = {"gz": "w:gz", "tgz": "w:gz", "xz": "w:xz", "bz2": "w:bz2"}.get(path.suffix[1:], "w")
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.size = len(content)
                file.addfile(member, io.BytesIO(content.encode()))
            else:
                member.type, member.linkname = content
                file.addfile(member)
    return path


CLASSES = {"set/young/a.jpg": "a", "set/old/b.jpg": "b", "__MACOSX/set/._a.jpg": "junk"}


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.tgz", "s.tar.xz", "s.tar.bz2", "download"])
def test_every_compression_of_a_tar_is_imported(tmp_path: Path, name: str) -> None:
    source = make_tar(tmp_path / name, CLASSES)
    assert is_archive(source)
    result = import_source(str(source), out=tmp_path / "m.csv", cache_dir=tmp_path / "cache")
    assert result.manifest.labels.tolist() == [2, 0]
    assert all(file.is_file() for file in result.manifest.files())


def test_backslashes_in_a_zip_become_folders(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "s.zip", {"set\\young\\a.jpg": "a", "set\\old\\b.jpg": "b"})
    result = import_source(str(source), out=tmp_path / "m.csv", cache_dir=tmp_path / "cache")
    assert result.manifest.paths == ("set/old/b.jpg", "set/young/a.jpg")
    assert [file.read_text() for file in result.manifest.files()] == ["b", "a"]


def test_names_in_utf8_that_the_zip_does_not_declare_are_read(tmp_path: Path) -> None:
    source = make_zip(tmp_path / "s.zip", {"\u00fc.jpg": "a"})
    data = bytearray(source.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset + 1] &= ~0x08
    source.write_bytes(data)
    assert (extract_archive(source, cache_dir=tmp_path / "cache") / "\u00fc.jpg").is_file()


def test_a_tar_keeps_links_inside_it(tmp_path: Path) -> None:
    members = {
        "all/a.jpg": "a",
        "young/a.jpg": (tarfile.SYMTYPE, "../all/a.jpg"),
        "b.jpg": (tarfile.LNKTYPE, "all/a.jpg"),
    }
    target = extract_archive(make_tar(tmp_path / "s.tar.gz", members), cache_dir=tmp_path / "cache")
    assert (target / "young" / "a.jpg").read_text() == (target / "b.jpg").read_text() == "a"


@pytest.mark.parametrize(
    "members",
    [
        {"../evil.txt": "x"}, {"/evil.txt": "x"}, {"a/../../evil.txt": "x"}, {"..\\evil.txt": "x"},
        {"C:\\evil.txt": "x"}, {"evil.txt": (tarfile.SYMTYPE, "/etc/hostname")},
        {"evil.txt": (tarfile.SYMTYPE, "../../x")}, {"evil.txt": (tarfile.LNKTYPE, "../x")},
        {"evil.txt": (tarfile.LNKTYPE, "/etc/hostname")}, {"evil.txt": (tarfile.CHRTYPE, "")},
        {"evil.txt": (tarfile.FIFOTYPE, "")},
        {"d": (tarfile.SYMTYPE, "."), "d/evil.txt": "x"},
        {"a/b/d": (tarfile.SYMTYPE, "."), "evil.txt": (tarfile.SYMTYPE, "a/b/d/../../../x")},
        {"./d": (tarfile.SYMTYPE, "sub"), "d//evil.txt": "x"},
    ],
)  # fmt: skip
def test_what_leaves_a_tar_is_refused_by_name(
    tmp_path: Path, members: dict[str, str | tuple[bytes, str]]
) -> None:
    source = make_tar(tmp_path / "bad.tar", {"good.txt": "x"} | members)
    with pytest.raises(DataError, match=r"not safe to extract: .*evil\.txt"):
        extract_archive(source, cache_dir=tmp_path / "cache" / "deep")
    assert not list(tmp_path.rglob("*.txt"))


def test_a_huge_tar_is_refused_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    source = make_tar(tmp_path / "bomb.tar.gz", {"a.txt": "0" * 600, "b.txt": "0" * 600})
    with pytest.raises(DataError, match="would unpack"):
        extract_archive(source, cache_dir=tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


@pytest.mark.parametrize("name", ["s.tar", "s.tar.gz", "s.tar.xz"])
@pytest.mark.parametrize("damage", ["cut", "text", "flip"])
def test_a_damaged_tar_leaves_nothing_behind(tmp_path: Path, name: str, damage: str) -> None:
    source = make_tar(tmp_path / name, {"a.txt": "".join(map(str, range(4000)))})
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 0xFF
    cut = bytes(data[: len(data) // 2]) if name != "s.tar" else bytes(data[:900])
    source.write_bytes({"cut": cut, "text": b"no tar", "flip": bytes(data)}[damage])
    if (name, damage) == ("s.tar", "flip"):  # a plain tar holds no checksum of its content
        return
    with pytest.raises(DataError, match="damaged tar"):
        extract_archive(source, cache_dir=tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


def test_the_good_members_of_a_damaged_zip_are_extracted_and_the_others_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as file:
        for name in ("a.txt", "b/c.txt", "d.txt"):
            file.writestr(name, f"content of {name}")
    source.write_bytes(source.read_bytes().replace(b"content of b/c.txt", b"content of b/X.txt"))
    for _ in range(2):  # extracted, and taken from the cache
        caplog.clear()
        target = extract_archive(source, cache_dir=tmp_path / "cache")
        assert "1 of its files are left out, first b/c.txt" in caplog.text
        assert [p.name for p in sorted(target.rglob("*.txt"))] == ["a.txt", "d.txt"]


def test_a_zip_without_a_whole_member_is_damaged(tmp_path: Path) -> None:
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as file:
        file.writestr("a.txt", "content")
    source.write_bytes(source.read_bytes().replace(b"content", b"damaged"))
    with pytest.raises(DataError, match="is a damaged zip"):
        extract_archive(source, cache_dir=tmp_path / "cache")
    assert not files_in(tmp_path / "cache")


@pytest.mark.parametrize("name", ["a/one.txt", "a/two.txt", CHECKSUMS])
@pytest.mark.parametrize("damage", ["halved", "zeroed", "missing"])
def test_damaged_extracted_files_are_said_and_extracted_again(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = make_zip(tmp_path / "s.zip", {"a/one.txt": "one one", "a/two.txt": "two two"})
    file = extract_archive(source, cache_dir=tmp_path / "cache") / name
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(data[: len(data) // 2] if damage == "halved" else bytes(len(data)))
    target = extract_archive(source, cache_dir=tmp_path / "cache")
    assert [(target / f"a/{n}.txt").read_text() for n in ("one", "two")] == ["one one", "two two"]
    assert f"is damaged ({name})" in caplog.text


KILL = """
import os, signal, sys, zipfile
from pathlib import Path
from threeages.data.importing.archive import extract_archive
extract = zipfile.ZipFile.extract
def stop_after(self, member, part):
    extract(self, member, part)
    os.kill(os.getpid(), signal.SIGKILL)
zipfile.ZipFile.extract = stop_after
extract_archive(Path(sys.argv[1]), cache_dir=Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_a_killed_extraction_is_done_again_and_leaves_nothing(tmp_path: Path) -> None:
    source, cache = make_zip(tmp_path / "s.zip", {"a.txt": "a", "b.txt": "b"}), tmp_path / "cache"
    command = [sys.executable, "-c", KILL, str(source), str(cache)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [name.endswith(".part") for name in files_in(cache)] == [True]
    target = extract_archive(source, cache_dir=cache)
    assert sorted(path.name for path in target.glob("*.txt")) == ["a.txt", "b.txt"]
    assert files_in(cache) == [target.name]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("room_is_checked", [True, False])
def test_a_full_disk_is_said_with_the_space_needed(
    kind: str,
    room_is_checked: bool,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = make_zip if kind == "zip" else make_tar
    source = make(tmp_path / f"s.{kind}", {"a.txt": "a" * 10**6, "b.txt": "b" * 10**6})
    folder = small_disk(1)
    if not room_is_checked:  # another program takes it just then
        monkeypatch.setattr(archive, "check_room", lambda *_: None)
    with pytest.raises(DataError, match=r"Cannot write .*: the disk is full; it needs 2 MB, .* free"):
        extract_archive(source, cache_dir=folder)
    assert not files_in(folder)
