import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.inference.bulk.tars import count_members, read_tar
from threeages.inference.sources import FilePart, load_content

JPEG = b"\xff\xd8\xff\xe0 not all of one"


def _write(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {f"{i}.jpg": JPEG + bytes([i]) * 700 for i in range(6)}


@pytest.mark.parametrize("by_part", [False, True])
@pytest.mark.parametrize("suffix", ["", ":gz", ":bz2", ":xz"])
def test_every_image_is_read(tmp_path: Path, suffix: str, by_part: bool) -> None:
    path = _write(tmp_path / "a.tar", MEMBERS, f"w{suffix}")
    sources = list(read_tar(path, Counter(), by_part=by_part))
    deferred = [isinstance(source.content, FilePart) for source in sources]
    assert deferred == [by_part and not suffix] * len(MEMBERS)
    found = {source.name: load_content(source) for source in sources}
    assert found == {f"{path}/{name}": content for name, content in MEMBERS.items()}
    assert count_members(path) == (None if suffix else len(MEMBERS))


def test_other_members_are_passed_over_and_counted(tmp_path: Path) -> None:
    others = {"0.json": b"{}", "._0.jpg": b"x", "__MACOSX/1.jpg": b"x", "noise": b"text"}
    path = _write(tmp_path / "a.tar", MEMBERS | others)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    passed_over: Counter[str] = Counter()
    assert len(list(read_tar(path, passed_over))) == len(MEMBERS)
    assert passed_over == {
        ".json": 1, "hidden": 1, "system": 1, "no suffix": 1, "link or special file": 1,
    }  # fmt: skip


@pytest.mark.parametrize("by_part", [False, True])
def test_the_images_before_a_cut_are_read_wherever_it_is(tmp_path: Path, by_part: bool) -> None:
    whole = _write(tmp_path / "a.tar", MEMBERS).read_bytes()
    path = tmp_path / "cut.tar"
    content = 6 * (512 + 1024)  # what follows is the end mark
    for end in range(0, content + 1, 256):
        path.write_bytes(whole[:end])
        found: list[object] = []
        with pytest.raises(DataError, match="cannot be read to its end") as raised:
            found.extend(load_content(source) for source in read_tar(path, Counter(), by_part=by_part))
        assert found == list(MEMBERS.values())[: len(found)]
        assert len(found) >= (end - 512) // 1536
        assert str(path) in raised.value.message
        assert "--resume" in raised.value.hint


def test_a_damaged_header_is_no_end(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tar", MEMBERS)
    damaged = bytearray(path.read_bytes())
    damaged[3 * 1536 + 100 : 3 * 1536 + 300] = bytes(range(200))
    path.write_bytes(damaged)
    sources = read_tar(path, Counter())
    assert [next(sources).content for _ in range(3)] == list(MEMBERS.values())[:3]
    with pytest.raises(DataError, match="end mark is missing"):
        next(sources)
