from pathlib import Path

import pytest

from threeages.data.columns import ColumnNames, find_columns, has_columns, pick_column
from threeages.errors import DataError
from threeages.files.csvfiles import CsvTable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("path,label", ("path", "label", None)), (" File Name ,AGE GROUP", ("File Name", "AGE GROUP", None)),
        ("image_id,Class", ("image_id", "Class", None)), ("FileName,Age", ("FileName", None, "Age")),
        ("id,image,age", ("image", None, "age")), ("file_name,age_range", ("file_name", None, "age_range")),
        ("ID,age,class", ("ID", "class", "age")),
    ],
)  # fmt: skip
def test_usual_names_in_any_spelling(header: str, expected: tuple[str | None, ...]) -> None:
    names = tuple(name.strip() for name in header.split(","))
    table = CsvTable(names, (), ())
    assert has_columns(table)
    assert find_columns(table, Path("a.csv"), ColumnNames()) == ColumnNames(*expected)


def test_names_given_win_in_any_case() -> None:
    table = CsvTable(("path", "label", "Photo", "decade", "years_old"), (), ())
    given = ColumnNames("photo", "Decade", "years old")
    assert find_columns(table, Path("a.csv"), given) == ColumnNames("Photo", "decade", "years_old")


@pytest.mark.parametrize("option", ["path", "label", "age"])
def test_a_column_that_is_absent_names_option_and_columns(option: str) -> None:
    table = CsvTable(("path", "label"), (), ())
    with pytest.raises(DataError, match=rf"no column 'x'.\n.*--{option}-column.*path, label"):
        find_columns(table, Path("a.csv"), ColumnNames(**{option: "x"}))


def test_a_table_without_its_columns_names_the_options() -> None:
    table = CsvTable(("a", "b"), (), ())
    assert not has_columns(table)
    with pytest.raises(DataError, match=r"a, b.\n.*--path-column"):
        find_columns(table, Path("a.csv"), ColumnNames())


def test_the_first_of_the_names_wins() -> None:
    assert pick_column(("B", "a"), ("a", "b")) == "a"
    assert pick_column(("c",), ("a", "b")) is None
