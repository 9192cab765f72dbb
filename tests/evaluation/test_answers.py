from pathlib import Path

import pytest

from threeages.errors import DataError
from threeages.evaluation.answers import load_answers
from threeages.evaluation.compare import compare_tables, load_run
from threeages.evaluation.predictions import NO_ANSWER, PROB_COLUMNS, load_predictions
from threeages.inference.records import OK

PROBS = ",".join(PROB_COLUMNS)
ROWS = f"path,label,{PROBS}\na,YOUNG,0.8,0.1,0.1\nb,OLD,0.1,0.1,0.8\nc,MIDDLE,0.6,0.3,0.1\n"


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_predictions_are_read_as_they_always_were(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", ROWS)
    ours, plain = load_answers(path), load_predictions(path)
    assert (ours.paths, ours.status, ours.columns) == (plain.paths, plain.status, plain.columns)
    assert (ours.probs == plain.probs).all()
    assert (ours.labels == plain.labels).all()


@pytest.mark.parametrize(
    "text",
    ["path,age_group\na,YOUNG\nb,OLD\nc,MIDDLE\n", "file,predicted_age\na,5\nb,51\nc,50.9\n",
     "path,years\na,30.99\nb,90\nc,31\n", "path,label\na,young\nb,senior\nc,1\n",
     "image,age\na,20\nb,60\nc,40\n",
     "path,label,age\na,OLD,20\nb,OLD,60\nc,OLD,40\n", "path;prediction\na;YOUNG\nb;OLD\nc;MIDDLE\n",
     f"path,{PROBS}\na,0.8,0.1,0.1\nb,0,0,1\nc,0.2,0.5,0.3\n",
     f"path,age_group,predicted_age,{PROBS}\na,OLD,60,0.8,0.1,0.1\nb,OLD,20,,,\nc,,40,,,\n"],
)  # fmt: skip
def test_every_kind_of_answer_is_read(tmp_path: Path, text: str) -> None:
    table = load_answers(_write(tmp_path / "a.csv", text))
    assert table.probs.argmax(axis=1).tolist() == [0, 2, 1]
    assert table.paths == ("a", "b", "c")


def test_a_row_without_an_answer_is_none(tmp_path: Path) -> None:
    table = load_answers(_write(tmp_path / "a.csv", "path,predicted_age\na,20\nb,\n"))
    assert table.status == (OK, NO_ANSWER)


@pytest.mark.parametrize(
    ("text", "message"),
    [("path,predicted_age\na,20\nb,old\n", "line 3: The predicted age is 'old'"),
     ("path,predicted_age\na,-1\n", "line 2"), ("path,predicted_age\na,nan\n", "line 2"),
     ("path,age_group\na,adult\n", "line 2: Unknown label"),
     ("path,age_group\na,OLD\na,OLD\n", "is in line 2 too"),
     (f"path,{PROBS}\na,0.8,0.8,0.1\n", "line 2: The probabilities are"),
     ("path,gender\na,f\n", "its columns are path, gender"),
     ("age_group\nOLD\n", "its columns are age_group"),
     ("path,prob_young\na,0.3\n", "its columns are path, prob_young")],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_answers(_write(tmp_path / "a.csv", text))
    assert message in caught.value.message


def test_a_peer_is_compared_by_the_labels_of_the_first(tmp_path: Path) -> None:
    ours = load_run(_write(tmp_path / "ours.csv", ROWS))
    peer = load_run(_write(tmp_path / "peer.csv", "path,predicted_age\nc,40\nb,60\na,20\nx,20\n"))
    first, second = compare_tables([("ours", ours), ("peer", peer)])
    assert (first.metrics["accuracy"], second.metrics["accuracy"]) == (pytest.approx(2 / 3), 1)
    assert second.n == 3
    with pytest.raises(DataError, match="peer holds no label"):
        compare_tables([("peer", peer), ("ours", ours)])


def test_a_peer_of_other_paths_is_refused_with_what_to_do(tmp_path: Path) -> None:
    ours = load_run(_write(tmp_path / "ours.csv", ROWS))
    peer = load_run(_write(tmp_path / "peer.csv", "path,predicted_age\n/data/a,40\n"))
    with pytest.raises(DataError) as caught:
        compare_tables([("ours", ours), ("peer", peer)])
    assert caught.value.hint.endswith("write the paths of the second file as 'a'.")


def test_the_columns_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", "Image,my_age\na,30\n")
    with pytest.raises(DataError, match="known to hold the answers; its columns are Image, my_age") as caught:
        load_answers(path)
    assert "predicted_age (in years)" in caught.value.hint
    with pytest.raises(DataError, match="known to hold the images; its columns are which, age_group"):
        load_answers(_write(path, "which,age_group\na,OLD\n"))
    with pytest.raises(DataError, match=r"no column label, .*; its columns are Image, my_age"):
        load_predictions(_write(path, "Image,my_age\na,30\n"))
