from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.files.csvfiles import read_csv, replace_rows, write_rows


def test_rows_of_results_take_the_place_of_those_alike(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.csv"
    first = {"model": "a", "split": "identity", "accuracy": "0.6"}
    assert replace_rows(path, [first, {**first, "model": "b"}], ("model", "split")) == [
        first,
        {**first, "model": "b"},
    ]
    found = replace_rows(path, [{**first, "accuracy": "0.7"}], ("model", "split"))
    assert found == [{**first, "model": "b"}, {**first, "accuracy": "0.7"}]
    assert path.read_text() == "model,split,accuracy\nb,identity,0.6\na,identity,0.7\n"
    with pytest.raises(DataError, match="split"):
        replace_rows(path, [{"model": "c", "accuracy": "0.8"}], ("model",))
    assert len(path.read_text().splitlines()) == 3
    replace_rows(path, [{"model": "c", "accuracy": "0.8"}], ("model",), extras="ignore")
    assert path.read_text() == "model,accuracy\nb,0.6\na,0.7\nc,0.8\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column model"),
        (bytes(60), "zeros in place of text from line 1"),
        (b"other,table\n1,2\n", "no column model"),
        (b"model,split,accuracy\na,random,0.5\nb,ran", "line 3, its last, ends before its last column"),
        (b"model,split,accuracy,n\na,random,0.5,3\n", "columns that the new rows lack: n"),
    ],
    ids=["empty", "zeroed", "foreign", "halved", "further columns"],
)
def test_a_damaged_table_of_results_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        replace_rows(path, [{"model": "a", "split": "random", "accuracy": "0.6"}], ("model",))
    assert str(path) in raised.value.message
    assert raised.value.hint
    assert path.read_bytes() == content


def test_every_dialect_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbf a ,b,\r\n 1 ,"x\r\ny",beyond,more\r\n\r\n2\r\n')
    table = read_csv(tmp_path / "a.csv")
    assert table.columns == ("a", "b")
    assert table.rows == ({"a": "1", "b": "x\r\ny"}, {"a": "2", "b": ""})
    assert table.lines == (3, 5)


CELLS = "path;age\nü é.jpg;25,5\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_encoding_of_a_spreadsheet_is_read(
    tmp_path: Path, encoding: str, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_bytes(CELLS.replace("\n", ending).encode(encoding))
    assert read_csv(tmp_path / "a.csv").rows == ({"path": "ü é.jpg", "age": "25,5"},)
    assert ("read as Windows-1252" in caplog.text) is (encoding == "cp1252")


def test_utf16_with_its_mark_in_either_order_is_read(tmp_path: Path) -> None:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        (tmp_path / "a.csv").write_bytes(mark + CELLS.encode(encoding))
        assert read_csv(tmp_path / "a.csv").columns == ("path", "age")


def test_bytes_without_meaning_in_windows_1252_are_read_as_latin_1(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n\x81\xe9\n")
    assert read_csv(tmp_path / "a.csv").rows == ({"a": "\x81é"},)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_separator_is_found_in_the_header(tmp_path: Path, separator: str) -> None:
    lines = [["path", '"a, b; c, d, e"', "note"], ["x,y.jpg" if separator != "," else "x.jpg", "1", ""]]
    (tmp_path / "a.csv").write_text("\n".join(separator.join(line) for line in lines))
    assert read_csv(tmp_path / "a.csv").columns == ("path", "a, b; c, d, e", "note")


@pytest.mark.parametrize("before", ["", "\n", " \r\n\r\n", "sep=;\n", '"sep=;"\r\n', "\nSEP=;\n"])
def test_lines_before_the_header_are_skipped_and_counted(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.csv").write_text(f"{before}file, long name;age\n1;2\n", newline="")
    table = read_csv(tmp_path / "a.csv")
    assert table.rows == ({"file, long name": "1", "age": "2"},)
    assert table.lines == (before.count("\n") + 2,)


def test_one_column_needs_no_separator(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\na.jpg\n")
    assert read_csv(tmp_path / "a.csv").rows == ({"path": "a.jpg"},)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a\n\xff\n\0\0")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(tmp_path / "a.csv")


def test_a_missing_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read .*none\.csv"):
        read_csv(tmp_path / "none.csv")


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "note": 'a "quote", and\nline'}]
    write_rows(tmp_path / "a.csv", rows)
    assert read_csv(tmp_path / "a.csv").rows == (
        {"epoch": "1", "loss": "0.5", "note": ""},
        {"epoch": "2", "loss": "", "note": 'a "quote", and\nline'},
    )
    write_rows(tmp_path / "a.csv", [], ["epoch"])
    assert (tmp_path / "a.csv").read_text() == "epoch\n"


def test_a_folder_in_place_of_a_csv_asks_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Name a file in that folder\."):
        read_csv(tmp_path)
