"""The accuracy studies on tables, images and models small enough to be made here."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.synthetic import draw_face
from threeages.demo import find_portraits
from threeages.errors import DataError
from threeages.evaluation.predictions import PredictionTable, save_predictions
from threeages.faces.crop import Face
from threeages.faces.images import Pixels, load_image
from threeages.inference.predictor import load_predictor
from threeages.inference.records import OK
from threeages.inference.runtime import default_model_path
from threeages.studies import background, blur, detection, int8, multiple_photos, turned


def _table(n: int, seed: int = 0) -> PredictionTable:
    """Rows of two identities in two films each, one label a scene, right more often than not."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4 % 3
    probs = rng.dirichlet(np.ones(3), n) + 0.4 * np.eye(3)[labels]
    probs /= probs.sum(axis=1, keepdims=True)
    columns = {
        "identity": tuple(f"identity-{i % 2}" for i in range(n)),
        "film": tuple(f"film-{i // 2 % 2}" for i in range(n)),
        "source": ("faces",) * n,
    }
    paths = tuple(f"{i}.png" for i in range(n))
    return PredictionTable(paths, labels, (OK,) * n, probs, probs.max(axis=1), columns)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_photo_is_the_answer_itself_and_more_are_pooled_within_a_scene() -> None:
    table = _table(80)
    rows, probs = multiple_photos.pool_scenes(table, 1, np.random.default_rng(0))
    assert sorted(rows) == list(range(80))
    np.testing.assert_allclose(probs, table.probs[rows], atol=1e-9)
    certain = replace(
        table, probs=np.eye(3)[np.asarray([int(f[-1]) for f in table.columns["film"]])] * 0.8 + 0.0667
    )
    rows, probs = multiple_photos.pool_scenes(certain, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(probs.argmax(axis=1), certain.probs[rows].argmax(axis=1))
    with pytest.raises(DataError, match="16 faces in one film"):
        multiple_photos.pool_scenes(_table(60), 2, np.random.default_rng(0))


def test_several_photos_write_a_row_for_every_number(tmp_path: Path) -> None:
    save_predictions(_table(80), tmp_path / "predictions.csv")
    out = tmp_path / "photos.csv"
    for model in ("a", "b", "a"):
        multiple_photos.main([model, str(tmp_path / "predictions.csv"), "--out", str(out)])
    rows = _read(out)
    assert [(row["model"], row["photos"]) for row in rows] == [
        (m, str(n)) for m in "ba" for n in multiple_photos.PHOTOS
    ]
    assert float(rows[4]["accuracy"]) > float(rows[0]["accuracy"])  # of random errors, most cancel


def test_int8_is_compared_on_the_same_faces(tmp_path: Path) -> None:
    table = _table(40)
    other = replace(table, probs=np.roll(table.probs, 1, axis=1))
    for name, found in {"float32": table, "int8": other}.items():
        (tmp_path / name).mkdir()
        save_predictions(found, tmp_path / name / "predictions.csv")
    folders = ["--float32", str(tmp_path / "float32"), "--int8", str(tmp_path / "int8")]
    int8.main(["small", *folders, "--out", str(tmp_path / "int8.csv")])
    (row,) = _read(tmp_path / "int8.csv")
    assert row["same answer"] == "0.0000"
    right = (table.probs.argmax(axis=1) == table.labels).mean()
    assert float(row["accuracy in float32"]) == pytest.approx(right, abs=1e-4)
    with pytest.raises(DataError, match="other images"):
        int8.compare(table, _table(39))


def test_blurred_faces_lose_their_detail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blur, "BLURS", (0.0, 0.05))
    _save_faces(tmp_path, 8)
    arguments = ["--model", str(default_model_path()), "--root", str(tmp_path)]
    arguments += ["--predictions", str(tmp_path / "predictions.csv"), "--out", str(tmp_path / "b.csv")]
    blur.main(arguments)
    rows = _read(tmp_path / "b.csv")
    assert [row["n"] for row in rows] == ["8", "1", "4", "4"]
    assert float(rows[3]["median detail"]) < float(rows[2]["median detail"])


def test_a_pasted_face_lies_whole_in_the_middle_of_a_photo() -> None:
    face = np.full((50, 40, 3), 255, dtype=np.uint8)
    photo = background.paste(face, np.random.default_rng(0))
    assert photo.shape == (125, 125, 3)
    assert (photo[57:68, 57:68] == 255).all()
    assert (photo[:30] != 255).any()


def test_faces_are_answered_alone_and_before_every_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "SOURCES", ("faces",))
    _save_faces(tmp_path, 6)
    (tmp_path / "model.onnx").symlink_to(default_model_path())
    background.main([str(tmp_path), "--root", str(tmp_path), "--out", str(tmp_path / "s.csv")])
    rows = _read(tmp_path / "s.csv")
    assert [row["surroundings shown"] for row in rows] == ["none", "0", "0.03", "0.1", "everything"]
    assert rows[0]["same answer"] == "1.0000"


def test_a_scene_holds_the_faces_it_says() -> None:
    chips = [np.full((60, 60, 3), 255, dtype=np.uint8)]
    photo, boxes = detection.compose_scene(chips, np.random.default_rng(1), num_faces=3, sides=(40, 80))
    assert photo.shape == (480, 640, 3)
    assert len(boxes) == 3
    for x1, y1, x2, y2 in boxes:
        assert (photo[int(y1) : int(y2), int(x1) : int(x2)] == 255).all()


def test_recall_and_false_detections_are_counted() -> None:
    photo = np.zeros((480, 640, 3), dtype=np.uint8)
    boxes = [(0.0, 0.0, 14.0, 14.0), (100.0, 100.0, 120.0, 120.0)]
    faces = [Face(box, 0.9) for box in [boxes[1], (300.0, 300.0, 330.0, 330.0)]]

    def look(_: Pixels) -> list[Face]:
        return faces

    hits, false = detection._match(look, [(photo, boxes)])
    assert hits == [(14.0, False), (20.0, True)]
    assert false == 1
    assert detection._recalls(hits)["recall 16-24 px"] == "1.000"


def _save_faces(folder: Path, n: int) -> None:
    """Drawn faces as png files, and a table of predictions of them."""
    import cv2

    rng = np.random.default_rng(0)
    for i in range(n):
        cv2.imwrite(str(folder / f"{i}.png"), draw_face(20 + 5 * i, i, rng, 160)[:, :, ::-1])
    save_predictions(_table(n), folder / "predictions.csv")


def test_turned_faces_are_compared_with_the_same_images_upright() -> None:
    portraits = [load_image(path) for path in find_portraits()]
    rows = turned._measure_turns("portraits", portraits, load_predictor())
    assert [row["turn"] for row in rows] == ["90", "180", "270"]
    for row in rows:
        assert (row["n"], row["as upright"], row["different"]) == (str(len(portraits)), "1.0000", "0.0000")


def test_a_crowd_holds_its_faces_at_their_width() -> None:
    chips = [draw_face(30, 0, np.random.default_rng(0), 100)]
    photo, boxes = turned.compose_crowd(chips, np.random.default_rng(1), (900, 600), 40, 20)
    assert photo.shape == (600, 900, 3)
    assert len(boxes) == 20
    assert all(
        abs(x2 - x1 - 40) <= 1 and 0 <= x1 < x2 <= 900 and 0 <= y1 < y2 <= 600 for x1, y1, x2, y2 in boxes
    )
    row = turned._measure_crowd(chips, np.random.default_rng(1), 500, 6)
    assert row["faces"] == "6"


def test_the_cost_of_turned_looks_is_a_share_of_a_prediction() -> None:
    row = turned._measure_cost([load_image(find_portraits()[0])])
    assert float(row["prediction ms"]) > float(row["search ms"]) > 0
