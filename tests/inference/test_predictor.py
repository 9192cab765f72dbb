import io
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

import threeages
from threeages.cli.inputs import expand_sources
from threeages.data.manifest import InvalidRow, load_manifest
from threeages.demo import find_portraits
from threeages.errors import ConfigError, DataError, ModelError, ThreeAgesError
from threeages.evaluation.collect import predict_table
from threeages.evaluation.years import read_distributions
from threeages.faces.crop import Face, crop_box, whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image, load_reduced
from threeages.faces.yunet import YUNET_PATH, YuNet
from threeages.inference.brackets import Brackets
from threeages.inference.predictor import Predictor
from threeages.inference.runtime import OnnxModel, default_model_path
from threeages.labels import AGE_GROUPS


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


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_portrait_is_answered_as_upright(model: OnnxModel, turns: int) -> None:
    predictor = Predictor(model, YuNet())
    portraits = [load_image(path) for path in find_portraits()]
    upright = list(predictor.predict(portraits))
    turned = list(predictor.predict([np.ascontiguousarray(np.rot90(x, turns)) for x in portraits]))
    assert [replace(r, box=None) for r in turned] == [replace(r, box=None) for r in upright]
    for pixels, before, after in zip(portraits, upright, turned, strict=True):
        assert before.box
        assert after.box
        shown = np.zeros(pixels.shape[:2], dtype=bool)
        shown[before.box[1] : before.box[3], before.box[0] : before.box[2]] = True
        x1, y1, x2, y2 = after.box
        assert np.rot90(shown, turns)[y1:y2, x1:x2].all()


def test_a_tight_crop_is_taken_whole() -> None:
    pixels = load_image(find_portraits()[0])
    tight = crop_box(pixels, find_faces(pixels, YuNet())[0], -0.05)
    assert find_faces(tight, YuNet()) == [whole_image(tight)]


def test_no_age_for_what_is_no_face(model: OnnxModel) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (16, 64, 128, 300)]
    flat = [np.full((100, 100, 3), 90, dtype=np.uint8)]
    assert {r.status for r in Predictor(model, YuNet()).predict(noise + flat)} == {"no_face"}


def draw_cartoon(rng: np.random.Generator) -> Pixels:
    """A smiley in flat colours, as in a comic."""
    size = int(rng.integers(120, 400))
    image = np.full((size, size, 3), rng.integers(120, 256, 3), dtype=np.uint8)
    middle, radius = (size // 2, size // 2), size // 3
    cv2.circle(image, middle, radius, (255, 220, 40), -1)
    cv2.circle(image, middle, radius, (0, 0, 0), 3)
    for side in (-1, 1):
        cv2.circle(
            image, (middle[0] + side * radius // 3, middle[1] - radius // 4), radius // 9, (0, 0, 0), -1
        )
    cv2.ellipse(image, middle, (radius // 2, radius // 2), 0, 20, 160, (0, 0, 0), 3)
    return image


def draw_landscape(rng: np.random.Generator) -> Pixels:
    """Sky, a sun, hills of noise."""
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    image[:] = np.linspace((90, 140, 220), (210, 220, 240), 300)[:, None]
    cv2.circle(image, (int(rng.integers(50, 350)), 70), 30, (255, 240, 150), -1)
    edge = 200 + np.cumsum(rng.normal(0, 2, 400)).astype(int)
    for x, y in enumerate(edge.clip(120, 290)):
        image[y:, x] = rng.integers((30, 70, 20), (70, 130, 50))
    return image


def test_animals_landscapes_cartoons_and_textures_have_no_face(model: OnnxModel) -> None:
    rng = np.random.default_rng(0)
    images = [draw(rng) for draw in (draw_cartoon, draw_landscape) for _ in range(6)]
    folder = Path(skimage.data.__file__).parent
    names = ("chelsea", "coffee", "brick", "grass", "gravel", "coins", "moon", "page", "text")
    present = [folder / f"{name}.png" for name in names if (folder / f"{name}.png").is_file()]
    assert len(present) >= 5
    found = {r.path: r.status for r in Predictor(model, YuNet()).predict([*images, *present])}
    assert len(found) == len(images) + len(present)
    assert {path: status for path, status in found.items() if status != "no_face"} == {}


def test_a_large_photo_is_answered_as_a_small_one_with_its_own_boxes(
    model: OnnxModel, tmp_path: Path
) -> None:
    pixels = load_image(find_portraits()[0])
    for name, factor in (("small", 2), ("large", 6)):
        large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        Image.fromarray(large).save(tmp_path / f"{name}.jpg", quality=92)
    predictor = Predictor(model, YuNet())
    small, large = predictor.predict([tmp_path / "small.jpg", tmp_path / "large.jpg"])
    assert load_reduced(tmp_path / "large.jpg", 960)[1] == pytest.approx(2, abs=0.01)
    np.testing.assert_allclose(large.box, np.multiply(small.box, 3), atol=50)
    assert large.probs == pytest.approx(small.probs, abs=0.08)


def test_faces_too_small_or_blurred_get_a_reason(model: OnnxModel) -> None:
    pixels = load_image(find_portraits()[0])
    face = find_faces(pixels, YuNet())[0]

    class Blind(YuNet):
        """Finds the face where it was before the blur."""

        def detect(self, pixels: Pixels, min_score: float = 0.7) -> list[Face]:
            return [face]

    (small,) = Predictor(model, YuNet()).predict([_far_away(pixels)])
    blurred = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.1 * face.shorter), dtype=np.uint8)
    (soft,) = Predictor(model, Blind()).predict([blurred])
    assert [small.status, soft.status] == ["face_too_small", "blurred"]
    for record in (small, soft):
        assert record.age_group is None
        assert record.probs
        assert record.box
    (whole_image,) = Predictor(model, None).predict([blurred])
    assert whole_image.status == "ok"


def test_a_table_keeps_rejected_faces(model: OnnxModel, tmp_path: Path) -> None:
    pixels = load_image(find_portraits()[0])
    face = find_faces(pixels, YuNet())[0]
    tiny = cv2.resize(pixels, None, fx=13 / face.shorter, fy=13 / face.shorter, interpolation=cv2.INTER_AREA)
    scene = np.full((300, 300, 3), 120, dtype=np.uint8)
    scene[: tiny.shape[0], : tiny.shape[1]] = tiny
    Image.fromarray(scene).save(tmp_path / "tiny.png")
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    (tmp_path / "m.csv").write_text("path,label\ntiny.png,OLD\nclear.png,OLD\n")
    table = predict_table(Predictor(model, YuNet()), load_manifest(tmp_path / "m.csv"))
    assert table.status == ("ok", "ok")
    assert table.columns["rejection_reason"] == ("face_too_small", "")


def test_a_table_keeps_the_distribution_over_years(tmp_path: Path) -> None:
    Image.fromarray(load_image(find_portraits()[0])).save(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,OLD\nnone.png,OLD\n")
    predictor = threeages.load_predictor(brackets="0,13,18,30,50")
    (record,) = predictor.predict(tmp_path / "a.png")
    table = predict_table(predictor, load_manifest(tmp_path / "m.csv"))
    years = read_distributions(table)
    assert np.isnan(years[1]).all()
    expected = Brackets((0, 13, 18, 30, 50)).probs(years[0])
    assert record.brackets is not None
    assert list(record.brackets.values()) == pytest.approx(expected.tolist(), abs=5e-3)  # it is rounded
    assert years[0] @ np.arange(101) == pytest.approx(record.age, abs=0.2)
    again = predict_table(threeages.load_predictor(), load_manifest(tmp_path / "m.csv"))
    assert again.columns["age_distribution"] == table.columns["age_distribution"]


def test_a_model_without_years_answers_no_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    model = OnnxModel(default_model_path())
    monkeypatch.setattr(model, "has_years", False)
    with pytest.raises(ConfigError, match="no distribution over years"):
        Predictor(model, None, brackets=(0, 18))


def test_load_predictor() -> None:
    predictor, portrait = threeages.load_predictor(), find_portraits()[0]
    (record,) = predictor.predict([portrait])
    assert list(predictor.predict([str(portrait)])) == [record]
    assert isinstance(record, threeages.Record)
    with pytest.raises(ConfigError, match="error rate"):
        threeages.load_predictor(max_error=0.0)


def test_public_names() -> None:
    assert threeages.ThreeAgesError is ThreeAgesError
    for name in threeages.__all__:
        assert getattr(threeages, name).__doc__
    assert {*threeages.__all__, "__version__"} <= set(dir(threeages))
    with pytest.raises(AttributeError):
        threeages.nothing  # noqa: B018


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


def test_images_of_the_same_person_are_answered_together_last(model: OnnxModel) -> None:
    predictor = Predictor(model, YuNet())
    first, second = find_portraits()[:2]
    flat = np.full((100, 100, 3), 90, dtype=np.uint8)
    *single, together = predictor.predict_together([first, Path("missing.jpg"), flat, second])
    assert [r.status for r in single] == ["ok", "missing", "no_face", "ok"]
    assert single == list(predictor.predict([first, Path("missing.jpg"), flat, second]))
    assert (together.path, together.box, together.status) == ("together", None, "ok")
    a, b = ([r.probs[group] for group in AGE_GROUPS] for r in (single[0], single[3]))
    pooled = np.sqrt(np.multiply(a, b))
    assert list(together.probs.values()) == pytest.approx(
        list(pooled / pooled.sum()), abs=1e-3
    )  # of rounded ones
    assert together.age == pytest.approx((single[0].age + single[3].age) / 2, abs=0.2)
    assert together.age_low < together.age < together.age_high

    *single, together = predictor.predict_together([first])
    assert replace(single[0], path="", box=None) == replace(together, path="")
    *single, together = predictor.predict_together([flat, flat])
    assert [r.status for r in (*single, together)] == ["no_face"] * 3


def test_together_a_rejected_face_weighs_little_and_rejected_ones_alone_get_a_reason(
    model: OnnxModel,
) -> None:
    predictor = Predictor(model, YuNet())
    clear = load_image(find_portraits()[0])
    small = _far_away(clear)
    *single, together = predictor.predict_together([clear, small])
    assert [r.status for r in (*single, together)] == ["ok", "face_too_small", "ok"]
    logs = np.log([list(r.probs.values()) for r in single])
    pooled = np.exp(np.average(logs, axis=0, weights=(1, 0.1)))
    assert list(together.probs.values()) == pytest.approx(
        list(pooled / pooled.sum()), abs=1e-3
    )  # of rounded ones
    *single, together = predictor.predict_together([small, small])
    assert [r.status for r in (*single, together)] == ["face_too_small"] * 3
    assert together.age_group is None


def _far_away(portrait: Pixels) -> Pixels:
    """The face at 13 pixels in a grey scene."""
    shorter = find_faces(portrait, YuNet())[0].shorter
    tiny = cv2.resize(portrait, None, fx=13 / shorter, fy=13 / shorter, interpolation=cv2.INTER_AREA)
    scene = np.full((300, 300, 3), 120, dtype=np.uint8)
    scene[: tiny.shape[0], : tiny.shape[1]] = tiny
    return scene


def test_table_keeps_every_row(predictor: Predictor, faces_csv: Path) -> None:
    manifest = load_manifest(faces_csv).select([0, 1, 2])
    table = predict_table(predictor, manifest, [InvalidRow(9, "x.jpg", "bad_label", "")])
    assert table.status == ("ok", "ok", "ok", "bad_label")
    assert np.isnan(table.probs[3]).all()


def test_sources(tmp_path: Path, faces_csv: Path) -> None:
    folder = faces_csv.parent
    assert len(expand_sources([str(folder)], io.StringIO())) == 120
    assert len(expand_sources([f"{folder}/000-*.jpg"], io.StringIO())) == 5
    assert list(expand_sources(["-"], io.StringIO("a.jpg\n\nb.jpg\n"))) == [Path("a.jpg"), Path("b.jpg")]
    assert expand_sources(["none.jpg"], io.StringIO()) == [Path("none.jpg")]
    for nothing in (str(tmp_path), f"{tmp_path}/*.jpg"):
        with pytest.raises(DataError):
            expand_sources([nothing], io.StringIO())


def test_foreign_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("no model")
    yunet = YUNET_PATH
    for path in (tmp_path / "a.onnx", tmp_path / "none.onnx", yunet):
        with pytest.raises(ModelError):
            OnnxModel(path)
