import csv
import io
import json
from dataclasses import fields, replace

import pytest

from threeages.inference.brackets import Brackets
from threeages.inference.records import Record
from threeages.inference.writers import COLUMNS, format_records, list_columns

PROBS = {"YOUNG": 0.25, "MIDDLE": 0.7, "OLD": 0.05}
ANSWER = Record("a.jpg", "ok", (1, 2, 3, 4), "MIDDLE", PROBS, 0.7, 38.0, 24.0, 55.5, ["YOUNG", "MIDDLE"])
NO_FACE = Record("b.jpg", "no_face", message="No face was found.")


def test_csv() -> None:
    assert format_records([ANSWER, NO_FACE], "csv").splitlines() == [
        "path,status,x1,y1,x2,y2,age_group,prob_young,prob_middle,prob_old,confidence,age,age_low,age_high,"
        "age_set,message",
        "a.jpg,ok,1,2,3,4,MIDDLE,0.250000,0.700000,0.050000,0.700000,38.0,24.0,55.5,YOUNG|MIDDLE,",
        "b.jpg,no_face,,,,,,,,,,,,,,No face was found.",
    ]


def test_every_field_of_a_record_is_in_the_csv() -> None:
    columns = list_columns(Brackets((0, 18)))
    assert {column.keys[0] for column in columns} == {field.name for field in fields(Record)}
    assert {column.keys[0] for column in COLUMNS} == {field.name for field in fields(Record)} - {"brackets"}


def test_jsonl_holds_every_field() -> None:
    answer, no_face = map(json.loads, format_records([ANSWER, NO_FACE], "jsonl").splitlines())
    names = [field.name for field in fields(Record) if field.name != "brackets"]
    assert list(answer) == list(no_face) == names
    assert Record.from_dict(answer) == ANSWER


def test_brackets_are_there_where_they_were_asked_for() -> None:
    brackets = Brackets((0, 18, 50))
    answer = replace(ANSWER, brackets={"0-17": 0.25, "18-49": 0.5, "50+": 0.25})
    assert Record.from_dict(json.loads(format_records([answer], "jsonl"))) == answer
    header, first, second = csv.reader(io.StringIO(format_records([answer, NO_FACE], "csv", brackets)))
    assert header[-3:] == ["prob_0_17", "prob_18_49", "prob_50_up"]
    assert (first[-3:], second[-3:]) == (["0.250000", "0.500000", "0.250000"], ["", "", ""])


@pytest.mark.parametrize("path", ["a,b", 'say "x"', "two\nlines", "a\rb", "é 漢"])
def test_any_text_can_be_read_again(path: str) -> None:
    text = format_records([Record(path, "ok")], "csv")
    _, row = csv.reader(io.StringIO(text, newline=""))
    assert row[0] == path


@pytest.mark.parametrize("path", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_text_is_a_formula(path: str) -> None:
    _, row = csv.reader(io.StringIO(format_records([Record(path, "ok")], "csv"), newline=""))
    assert row[0] == f"'{path}"
