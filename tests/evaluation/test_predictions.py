import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.errors import DataError
from threeages.evaluation.predictions import (
    PredictionTable,
    is_predictions,
    join_predictions,
    load_predictions,
    save_predictions,
)
from threeages.evaluation.provenance import Provenance

HEADER = "path,label,prob_young,prob_middle,prob_old\n"


def _table() -> PredictionTable:
    probs = np.array([[0.7, 0.2, 0.1], [np.nan] * 3, [1 / 3, 1 / 3 + 1e-9, 1 / 3 - 1e-9]])
    columns: dict[str, tuple[str, ...]] = {"identity": ("a", "a", ""), "gender": ("MALE", 'x"y,z', "")}
    return PredictionTable(
        ("a.jpg", "b, c.jpg", "ü.jpg"),
        np.array([0, 2, -1]),
        ("ok", "truncated", "ok"),
        probs,
        probs.max(1),
        columns,
    )


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    table = _table()
    save_predictions(table, tmp_path / "p.csv")
    back = load_predictions(tmp_path / "p.csv")
    assert (back.paths, back.status, back.columns) == (table.paths, table.status, table.columns)
    np.testing.assert_array_equal(back.labels, table.labels)
    np.testing.assert_array_equal(back.probs, table.probs)
    np.testing.assert_array_equal(back.confidence, table.confidence)
    assert back.scored().tolist() == [True, False, False]  # the last row has an answer and no label


def test_the_rows_with_a_value_are_those_and_no_others() -> None:
    assert _table().where("identity", "a").paths == ("a.jpg", "b, c.jpg")
    assert _table().where("gender", "MALE").columns["identity"] == ("a",)
    for column, value in (("gender", "F"), ("sex", "F")):
        with pytest.raises(DataError, match=f"{column}=F"):
            _table().where(column, value)


def test_rows_are_taken_in_the_given_order() -> None:
    table = _table().take([2, 0])
    assert table.paths == ("ü.jpg", "a.jpg")
    assert table.columns["gender"] == ("", "MALE")
    np.testing.assert_array_equal(table.labels, [-1, 0])
    np.testing.assert_array_equal(table.confidence, table.probs.max(axis=1))


def test_header_and_answer(tmp_path: Path) -> None:
    save_predictions(_table(), tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    names = "path,label,status,age_group,prob_young,prob_middle,prob_old,confidence,identity,gender"
    assert lines[0] == names
    assert lines[1] == "a.jpg,YOUNG,ok,YOUNG,0.7,0.2,0.1,0.7,a,MALE"


def test_a_peers_file_needs_five_columns_only(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(HEADER + "a.jpg,young,0.33,0.33,0.33\nb.jpg,2,,,\n")
    table = load_predictions(tmp_path / "p.csv")
    assert table.status == ("ok", "no_answer")
    assert table.labels.tolist() == [0, 2]
    assert table.confidence[0] == 0.33


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,OLD,0.5,0.6,0.4", "line 2: The probabilities"),
        ("a.jpg,OLD,nan,0.6,0.4", "line 2: The probabilities"),
        ("a.jpg,OLD,-0.2,0.8,0.4", "line 2: The probabilities"),
        ("a.jpg,OLD,x,0.6,0.4", "line 2: The probabilities"),
        ("a.jpg,ANCIENT,0,0.6,0.4", "line 2: Unknown label"),
        ("a.jpg,OLD,0,0.6,0.4\na.jpg,OLD,0,0.6,0.4", "line 3: 'a.jpg' is in line 2"),
    ],
)
def test_names_the_faulty_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(HEADER + row + "\n")
    with pytest.raises(DataError, match=message):
        load_predictions(tmp_path / "p.csv")


def test_names_missing_columns_and_files(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("path,label,prob_young\n")
    with pytest.raises(DataError, match="no column prob_middle, prob_old"):
        load_predictions(tmp_path / "p.csv")
    with pytest.raises(DataError, match="Cannot read"):
        load_predictions(tmp_path / "none.csv")


def test_predictions_are_told_from_a_manifest_by_their_columns(tmp_path: Path) -> None:
    save_predictions(_table(), tmp_path / "p.csv")
    (tmp_path / "m.csv").write_text("path,label,probability\na.jpg,OLD,1\n")
    (tmp_path / "peer.csv").write_text("path,label,prob_young\n")
    assert is_predictions(tmp_path / "p.csv")
    assert is_predictions(tmp_path / "peer.csv")  # its missing columns are named when it is loaded
    assert not is_predictions(tmp_path / "m.csv")
    assert not is_predictions(tmp_path / "m.parquet")


def test_the_split_of_the_run_beside_the_file_stays_with_its_rows(tmp_path: Path) -> None:
    save_predictions(_table(), tmp_path / "run" / "predictions.csv")
    save_predictions(_table(), tmp_path / "peer.csv")
    config = {"config": {"split": "random", "seed": 3}, "split": {"train": 5}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    run, peer = (
        load_predictions(tmp_path / "run" / "predictions.csv"),
        load_predictions(tmp_path / "peer.csv"),
    )
    assert run.take([0]).provenance == Provenance("random", 3)
    assert peer.provenance == Provenance()
    (tmp_path / "run" / "config.json").rename(tmp_path / "config.json")
    report = {"split": "random", "seed": 3, "sources": {"faces": 5}, "gap": {"random": 0.9}}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(report))
    shutil.copy(tmp_path / "peer.csv", tmp_path / "run")
    assert load_predictions(tmp_path / "run" / "predictions.csv").provenance == Provenance(
        "random", 3, sources={"faces": 5}
    )
    assert load_predictions(tmp_path / "run" / "peer.csv").provenance == Provenance()  # not the report's
    renamed = replace(peer, paths=tuple(f"x{path}" for path in peer.paths))
    assert join_predictions([renamed, run]).provenance == Provenance("random", None)


@pytest.mark.parametrize(
    "text",
    [
        "PATH;Label;Prob Young;prob_MIDDLE;Prob_old\na.jpg;Middle-aged;0,25;0,5;0,25\n",
        "file_name\tClass\tprob_young\tprob_middle\tprob_old\na.jpg\t1\t.25\t.5\t.25\n",
    ],
)
def test_every_dialect_of_a_spreadsheet_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_bytes(text.encode("utf-16"))
    assert is_predictions(tmp_path / "p.csv")
    table = load_predictions(tmp_path / "p.csv")
    assert (table.paths, table.labels.tolist(), table.columns) == (("a.jpg",), [1], {})
    assert table.probs.tolist() == [[0.25, 0.5, 0.25]]


def test_a_folder_holds_no_predictions(tmp_path: Path) -> None:
    assert not is_predictions(tmp_path)


@pytest.mark.parametrize("ages", ["40,50,30", "x,1,2", "nan,1,2", "40,-3,50", "40,3,inf"])
def test_impossible_predicted_ages_are_refused(tmp_path: Path, ages: str) -> None:
    header = HEADER.strip() + ",predicted_age,predicted_low,predicted_high\n"
    (tmp_path / "p.csv").write_text(f"{header}a.jpg,OLD,0,0.6,0.4,{ages}\n")
    with pytest.raises(DataError, match="line 2: The predicted ages are predicted_age"):
        load_predictions(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text(f"{header}a.jpg,OLD,0,0.6,0.4,40,,\nb.jpg,OLD,0,0.6,0.4,,30,30\n")
    assert len(load_predictions(tmp_path / "p.csv")) == 2


def test_only_possible_ages_are_read() -> None:
    cells = ("20", "nan", "-1", "123", "x", "")
    table = _table().take([0] * 6)
    ages = replace(table, columns={"age": cells}).ages()
    assert ages[0] == 20
    assert np.isnan(ages[1:]).all()


def test_an_age_known_as_a_range_is_no_age_to_measure_by() -> None:
    columns = {"age": ("20", "50", "", "x"), "age_low": ("", "40", "70", ""), "age_high": ("", "60", "", "")}
    probs = np.full((4, 3), 1 / 3)
    table = PredictionTable(tuple("abcd"), np.zeros(4, np.int64), ("ok",) * 4, probs, probs[:, 0], columns)
    assert table.ages().tolist() == pytest.approx([20, np.nan, np.nan, np.nan], nan_ok=True)
