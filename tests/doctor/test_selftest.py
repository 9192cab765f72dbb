"""The self-test's tolerances: another way to compute stays within them, a wrong one does not."""

import io
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from threeages.doctor import selftest
from threeages.errors import ModelError
from threeages.faces.images import Pixels
from threeages.inference.predictor import load_predictor


def _differences(change: Callable[[Pixels], Pixels] | None = None) -> list[str]:
    """How the answers to the photos of faces differ from those expected, in words."""
    photos = selftest.read_photos()[:3]
    images = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for _, content, _ in photos]
    given = [change(pixels) for pixels in images] if change else [content for _, content, _ in photos]
    records = load_predictor().predict(given)
    pairs = zip(records, photos, strict=True)
    return [text for record, photo in pairs for text in selftest.compare_record(record.to_dict(), photo[2])]


def test_the_shipped_model_answers_as_expected() -> None:
    (found,) = selftest.check_answers()
    assert found.verdict == "ok", found
    assert "YOUNG, MIDDLE, OLD, no_face, truncated" in found.found


def test_no_tolerated_difference_can_change_a_group() -> None:
    """The file is made again by tools/selftest.py whenever the shipped model changes."""
    for _, _, record in selftest.read_photos():
        if record["probs"]:
            second, first = sorted(record["probs"].values())[-2:]
            assert first - second > 2 * selftest.PROBABILITY


@pytest.mark.parametrize("seed", range(3))
def test_pixels_that_differ_by_one_are_tolerated(seed: int) -> None:
    """As decoders and resampling of other processors and releases differ, and more of them."""
    rng = np.random.default_rng(seed)

    def move(pixels: Pixels) -> Pixels:
        moved = pixels.astype(np.int16) + rng.integers(-1, 2, pixels.shape)
        return np.asarray(moved.clip(0, 255).astype(np.uint8))

    assert _differences(move) == []


def test_sums_in_float_are_tolerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its optimizations ONNX Runtime computes the int8 graph in float32."""
    original = onnxruntime.SessionOptions
    used = []

    def create() -> onnxruntime.SessionOptions:
        options = original()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        used.append(options)
        return options

    monkeypatch.setattr(onnxruntime, "SessionOptions", create)
    assert _differences() == []
    assert used


@pytest.mark.parametrize(
    "change", [lambda pixels: pixels[..., ::-1].copy(), lambda pixels: 255 - pixels], ids=["bgr", "negative"]
)
def test_what_is_read_wrongly_is_no_rounding(change: Callable[[Pixels], Pixels]) -> None:
    assert _differences(change)


def test_another_answer_is_a_fault_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = selftest.read_photos()
    monkeypatch.setattr(
        selftest, "read_photos", lambda: [photos[0], (photos[1][0], photos[2][1], photos[1][2])]
    )
    (found,) = selftest.check_answers()
    assert (found.verdict, found.advice) == ("fault", selftest.ADVICE)
    assert found.found == "middle.png: age_group is OLD, expected MIDDLE"


def test_a_face_too_many_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, content, record), *_ = selftest.read_photos()
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    file = io.BytesIO()
    Image.fromarray(np.hstack([pixels, pixels])).save(file, "PNG")
    monkeypatch.setattr(selftest, "read_photos", lambda: [("two.png", file.getvalue(), record)])
    (found,) = selftest.check_answers()
    assert (found.verdict, found.found) == ("fault", "1 photos with one face each gave 2 records")


def test_a_damaged_file_is_no_expectation(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "selftest.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr(selftest, "FILE", tmp_path / "selftest.json")
    monkeypatch.setattr("threeages.bundled.ASSETS", tmp_path)
    with pytest.raises(ModelError, match="not as it was released"):
        selftest.read_photos()
