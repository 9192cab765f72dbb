import io
import json
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from threeages.demo import find_portraits
from threeages.errors import DataError, ModelError
from threeages.faces import YuNet, crop, find_faces, whole
from threeages.images import load_image
from threeages.manifest import RowFault, load_manifest
from threeages.predict import (
    OnnxModel,
    Predictor,
    default_model_path,
    expand_sources,
    predict_table,
    write_records,
)
from threeages.records import Record


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel(default_model_path())


@pytest.fixture(scope="module")
def predictor(model: OnnxModel) -> Predictor:
    return Predictor(model, None)


def test_portraits_have_one_face_each(model: OnnxModel) -> None:
    portraits = find_portraits()
    assert portraits or not find_spec("matplotlib")
    records = list(Predictor(model, YuNet()).predict(portraits))
    assert [r.status for r in records] == ["ok"] * len(portraits)
    for record in records:
        assert sum(record.probs.values()) == pytest.approx(1, abs=1e-4)
        assert record.confidence == max(record.probs.values())


def test_boxes_are_in_pixels_of_the_image() -> None:
    pixels = load_image(find_portraits()[0])
    large = np.repeat(np.repeat(pixels, 4, axis=0), 4, axis=1)
    small_box, large_box = (find_faces(image, YuNet())[0].box for image in (pixels, large))
    np.testing.assert_allclose(large_box, np.multiply(small_box, 4), atol=40)


def test_a_tight_crop_is_taken_whole() -> None:
    pixels = load_image(find_portraits()[0])
    tight = crop(pixels, find_faces(pixels, YuNet())[0], -0.05)
    assert find_faces(tight, YuNet()) == [whole(tight)]


def test_no_age_for_what_is_no_face(model: OnnxModel) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (16, 64, 128, 300)]
    flat = [np.full((100, 100, 3), 90, dtype=np.uint8)]
    assert {r.status for r in Predictor(model, YuNet()).predict(noise + flat)} == {"no_face"}


def test_bad_images_lose_no_others_answer(
    predictor: Predictor, bad_images: dict[str, Path], faces_csv: Path
) -> None:
    good = load_manifest(faces_csv).files()[:40]
    mixed = [*good[:20], *bad_images.values(), *good[20:]]
    records = list(predictor.predict(mixed))
    assert [r.path for r in records] == [str(p) for p in mixed]
    assert [r.status for r in records[20:-20]] == list(bad_images)
    alone = [r.probs for r in predictor.predict(good)]
    for found, expected in zip([*records[:20], *records[-20:]], alone, strict=True):
        assert found.probs == pytest.approx(expected, abs=1e-4)


def test_table_keeps_every_row(predictor: Predictor, faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv).select([0, 1, 2])
    table = predict_table(predictor, manifest, [RowFault(9, "x.jpg", "bad_label", "")])
    assert table.status == ("ok", "ok", "ok", "bad_label")
    assert np.isnan(table.probs[3]).all()


def test_records_are_written_as_jsonl_and_csv(
    predictor: Predictor, bad_images: dict[str, Path], faces_csv: Path
) -> None:
    records = list(predictor.predict([load_manifest(faces_csv).files()[0], bad_images["empty"]]))
    text = io.StringIO()
    write_records(records, text, "jsonl")
    rows = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "empty"]
    assert set(rows[0]) == {field.name for field in fields(Record)}
    text = io.StringIO()
    write_records(records, text, "csv")
    assert len(text.getvalue().splitlines()) == 3


def test_sources(tmp_path: Path, faces_csv: Path) -> None:
    folder = faces_csv.parent
    assert len(expand_sources([str(folder)], io.StringIO())) == 120
    assert len(expand_sources([f"{folder}/000-*.jpg"], io.StringIO())) == 5
    assert expand_sources(["-"], io.StringIO("a.jpg\n\nb.jpg\n")) == [Path("a.jpg"), Path("b.jpg")]
    assert expand_sources(["none.jpg"], io.StringIO()) == [Path("none.jpg")]
    for nothing in (str(tmp_path), f"{tmp_path}/*.jpg"):
        with pytest.raises(DataError):
            expand_sources([nothing], io.StringIO())


def test_foreign_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("no model")
    yunet = default_model_path().parent / "face_detection_yunet_2023mar.onnx"
    for path in (tmp_path / "a.onnx", tmp_path / "none.onnx", yunet):
        with pytest.raises(ModelError):
            OnnxModel(path)
