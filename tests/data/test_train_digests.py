import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threeages.data.train_digests import (
    DIGESTS_FILE,
    UNREADABLE,
    create_train_digests,
    digest_images,
    format_train_digests,
    load_train_digests,
    parse_train_digests,
    save_train_digests,
)
from threeages.faces.images import load_image, pixel_digest


def _digests(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16), dtype=np.uint8)


def test_what_was_trained_on_is_found_and_nothing_else() -> None:
    own = _digests(500)
    found = create_train_digests(own, ["p1", "p2", "", "p1"])
    assert found.find_images(own).all()
    assert not found.find_images(_digests(5000, seed=1)).any()
    assert found.find_identities(["p2", "p3", "", "p1"]).tolist() == [True, False, False, True]
    assert len(found.images) == 500
    assert len(found.identities) == 2
    assert not found.without_identities().find_identities(["p1"]).any()
    assert found.without_identities().find_images(own).all()
    assert not create_train_digests(own[:0]).find_images(own).any()


def test_they_are_the_same_after_a_journey_and_hold_no_name() -> None:
    own = _digests(300)
    found = create_train_digests(own, ["Jane Example"])
    text = format_train_digests(found)
    assert "Jane" not in text
    again = parse_train_digests(text, Path("m.onnx"))
    assert again is not None
    assert again.find_images(own).all()
    assert again.find_identities(["Jane Example"]).all()
    assert (
        format_train_digests(again)
        == text
        == format_train_digests(create_train_digests(own, ["Jane Example"]))
    )


def test_two_models_of_other_images_share_no_digest() -> None:
    own = _digests(300)
    first, second = create_train_digests(own, ["p1"]), create_train_digests(own[1:], ["p1"])
    assert not np.isin(first.images, second.images).any()
    assert first.identities.tolist() != second.identities.tolist()


def test_sixty_thousand_images_take_under_300_kilobytes() -> None:
    assert len(format_train_digests(create_train_digests(_digests(60_000)))) < 300_000


def test_a_run_without_or_with_damaged_digests_has_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_train_digests(tmp_path) is None
    assert load_train_digests(tmp_path / "m.onnx") is None
    assert caplog.text == ""
    save_train_digests(create_train_digests(_digests(5), ["p1"]), tmp_path)
    found = load_train_digests(tmp_path)
    assert found is not None
    assert found.find_images(_digests(5)).all()
    (tmp_path / DIGESTS_FILE).write_text((tmp_path / DIGESTS_FILE).read_text().replace('"n": 5', '"n": 4'))
    assert load_train_digests(tmp_path) is None
    assert "what the run was trained on is not known" in caplog.text


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({"format": 2}), '{"format": 1, "salt": "x"}'])
def test_digests_that_cannot_be_read_are_named(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert parse_train_digests(text, Path("m.onnx")) is None
    assert "m.onnx cannot be read by this version" in caplog.text


def test_an_image_counts_by_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    for name in ("a.png", "b.bmp"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no image")
    a, b, bad, missing = digest_images(
        [tmp_path / name for name in ("a.png", "b.bmp", "bad.png", "none.png")]
    )
    assert a.tobytes() == b.tobytes() == pixel_digest(load_image(tmp_path / "a.png"))
    assert bad.tobytes() == missing.tobytes() == UNREADABLE
