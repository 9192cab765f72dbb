from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.inference.brackets import Brackets
from threeages.inference.bulk import parts
from threeages.inference.bulk.digests import Shard
from threeages.inference.bulk.parts import PartFolder
from threeages.inference.records import Record
from threeages.inference.writers import list_columns

pq = pytest.importorskip("pyarrow.parquet")
NAMES = [f"{i}.jpg" for i in range(25)]
PROBS = {"YOUNG": 0.25, "MIDDLE": 0.7, "OLD": 0.05}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 10)


def _open(folder: Path, shard: str = "1/1", brackets: Brackets | None = None) -> tuple[PartFolder, list[str]]:
    folder.mkdir(exist_ok=True)
    there: list[str] = []
    answers = PartFolder(folder, Shard.parse(shard), brackets)
    answers.open(there.append)
    return answers, there


def _add(answers: PartFolder, names: list[str]) -> None:
    for name in names:
        answers.add([Record(name, "ok", (0, 0, 1, 1), "MIDDLE", PROBS, 0.7, age_set=["YOUNG", "MIDDLE"])] * 2)


def test_whole_parts_are_kept_and_the_rest_is_answered_again(tmp_path: Path) -> None:
    answers, _ = _open(tmp_path)
    _add(answers, NAMES[:13])  # and it is killed
    answers, there = _open(tmp_path)
    assert there == NAMES[:10]
    assert answers.rows == 20
    _add(answers, NAMES[10:])
    answers.close()
    found = pq.read_table(tmp_path).column("path").to_pylist()
    assert sorted(found) == sorted(2 * NAMES)


def test_shards_write_beside_each_other(tmp_path: Path) -> None:
    for shard, names in (("1/2", NAMES[:7]), ("2/2", NAMES[7:])):
        answers, there = _open(tmp_path, shard)
        assert there == []
        _add(answers, names)
        answers.close()
    assert sorted(pq.read_table(tmp_path).column("path").to_pylist()) == sorted(2 * NAMES)


def test_the_columns_are_those_of_the_csv(tmp_path: Path) -> None:
    brackets = Brackets((0, 18))
    answers, _ = _open(tmp_path, brackets=brackets)
    answers.add([Record("\udcff.jpg", "empty")])
    answers.close()
    table = pq.read_table(tmp_path)
    assert table.column_names == [column.name for column in list_columns(brackets)]
    assert table.to_pylist()[0]["path"] == "\\udcff.jpg" == answers.name("\udcff.jpg")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    answers, _ = _open(tmp_path)
    _add(answers, NAMES)
    part = min(tmp_path.glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(DataError, match=part.name) as raised:
        _open(tmp_path)
    assert "resume" in raised.value.hint
