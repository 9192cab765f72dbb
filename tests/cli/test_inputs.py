import io
from pathlib import Path

import pytest

from threeages.cli.inputs import expand_sources, read_list
from threeages.errors import DataError


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def _read(data: bytes) -> list[str]:
    return [str(path) for path in read_list(io.BytesIO(data))]


LIST = "a.jpg\r\n\r\n  \r\n  ü b.jpg  \r\n#c.jpg\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_in_every_unicode_encoding(encoding: str) -> None:
    assert _read(LIST.encode(encoding)) == ["a.jpg", "ü b.jpg", "#c.jpg"]


@pytest.mark.parametrize("quoted", ['"a b.jpg"', "'a b.jpg'", "\u201ca b.jpg\u201d", '  "a b.jpg" '])
def test_quotes_around_a_path_are_dropped(quoted: str) -> None:
    assert _read(f"{quoted}\n".encode()) == ["a b.jpg"]


def test_a_file_of_exactly_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_touch(tmp_path, "'quoted.jpg'", " spaced.jpg", "sub/win.jpg"))
    assert _read(b"'quoted.jpg'\n spaced.jpg\nsub\\win.jpg\n") == [
        "'quoted.jpg'", " spaced.jpg", "sub/win.jpg",
    ]  # fmt: skip


def test_nul_and_cr_end_a_path_too() -> None:
    assert _read(b"a.jpg\0b c.jpg\0") == ["a.jpg", "b c.jpg"]
    assert _read(b"a.jpg\rb.jpg\r") == ["a.jpg", "b.jpg"]
    assert _read(b"a") == ["a"]
    assert _read(b"") == _read(b"\n") == _read(b"\n\n\n") == []


def test_names_that_are_no_utf8_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_touch(tmp_path, "é.jpg"))
    assert _read("é.jpg\n".encode("cp1252")) == ["é.jpg"]  # Windows-1252 of a file that is there
    assert bytes(next(iter(read_list(io.BytesIO(b"\xff.jpg\n"))))) == b"\xff.jpg"


def test_a_list_is_read_as_it_arrives() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            buffer[:6] = b"a.jpg\n"
            return 6

    paths = read_list(io.BufferedReader(Endless()))
    assert [str(next(paths)) for _ in range(3)] == ["a.jpg"] * 3


def test_a_folder_says_what_it_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _touch(tmp_path, "b.jpg", "a/c.jpg", "n.txt", "Thumbs.db", ".x.jpg")
    found = expand_sources([str(tmp_path), f"{tmp_path}/*"], io.StringIO())
    assert [path.name for path in found] == ["c.jpg", "b.jpg", "b.jpg"]
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(err.strip().removeprefix("Passed over: ").rstrip(".").split(", ")) == [
        ".txt 2", "hidden 1", "system 2",
    ]  # fmt: skip


def test_a_folder_without_images_says_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="holds no images"):
        expand_sources([str(_touch(tmp_path, "n.txt"))], io.StringIO())
    assert capsys.readouterr().err == "Passed over: .txt 1.\n"
