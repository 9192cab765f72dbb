import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from threeages.evaluation.mistakes import SIDE, add_pictures, find_mistakes
from threeages.evaluation.predictions import PredictionTable


def _table() -> PredictionTable:
    """Rows 0 to 3 are wrong with rising confidence, 2 and 3 of one identity; row 4 is right, 5 failed."""
    probs = np.asarray(
        [
            [0.5, 0.3, 0.2],
            [0.6, 0.2, 0.2],
            [0.7, 0.2, 0.1],
            [0.8, 0.1, 0.1],
            [0.1, 0.1, 0.8],
            [np.nan, np.nan, np.nan],
        ]
    )
    identities = ("a", "b", "c", "c", "d", "e")
    status = ("ok",) * 5 + ("no_face",)
    paths = tuple(f"{i}.png" for i in range(6))
    labels = np.asarray([1, 2, 1, 2, 2, 0])
    return PredictionTable(paths, labels, status, probs, probs.max(1), {"identity": identities})


def test_the_surest_come_first_and_one_of_an_identity() -> None:
    found = find_mistakes(_table())
    assert [m.path for m in found] == ["3.png", "1.png", "0.png"]
    assert (found[0].label, found[0].answer, found[0].confidence) == ("OLD", "YOUNG", 0.8)


def test_without_identities_every_mistake_counts() -> None:
    assert [m.path for m in find_mistakes(replace(_table(), columns={}))] == [
        f"{i}.png" for i in (3, 2, 1, 0)
    ]


def test_at_most_as_many_as_asked_for() -> None:
    assert len(find_mistakes(_table(), 2)) == 2


def test_no_mistake_is_none() -> None:
    assert find_mistakes(_table().take(np.asarray([4, 5]))) == ()


def test_pictures_are_small_and_a_missing_one_is_absent(tmp_path: Path) -> None:
    Image.new("RGB", (600, 300), "red").save(tmp_path / "3.png")
    shown = add_pictures(find_mistakes(_table()), tmp_path)
    data = base64.b64decode(shown[0].picture.removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (SIDE, SIDE // 2)
    assert [m.picture for m in shown[1:]] == ["", ""]


def test_a_picture_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (60, 60)).save(tmp_path / "secret.png")
    (tmp_path / "root").mkdir()
    mistake = replace(find_mistakes(_table())[0], path="../secret.png")
    assert add_pictures([mistake], tmp_path / "root")[0].picture == ""
