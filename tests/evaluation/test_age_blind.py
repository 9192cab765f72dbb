import numpy as np
import pytest

from threeages.evaluation import age_blind
from threeages.evaluation.age_blind import answer_majority, answer_nearest, describe_images, find_nearest

LABELS = np.asarray([0, 0, 1, 2, 2, 1, 0, 2])
TRAIN, TEST = np.arange(5), np.arange(5, 8)


def test_the_majority_of_the_train_rows_answers() -> None:
    assert answer_majority((), LABELS, np.asarray([1, 3, 4]), TEST).argmax(axis=1).tolist() == [2, 2, 2]


def test_the_majority_per_cell_falls_back_to_broader_ones() -> None:
    who = np.asarray(["a", "a", "a", "b", "b", "a", "b", "new"])
    film = np.asarray(["x", "x", "y", "x", "x", "y", "new", "x"])
    assert answer_majority([who], LABELS, TRAIN, TEST).argmax(axis=1).tolist() == [0, 2, 0]
    assert answer_majority([who, film], LABELS, TRAIN, TEST).argmax(axis=1).tolist() == [1, 2, 0]


def test_an_empty_cell_is_no_value() -> None:
    who = np.asarray(["", "", "", "b", "b", "", "b", "b"])
    labels = np.asarray([1, 1, 1, 2, 2, 0, 0, 0])
    assert answer_majority([who], labels, TRAIN, TEST).argmax(axis=1).tolist() == [1, 2, 2]


def test_the_nearest_train_row_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    train, test = np.arange(10, 40), np.arange(10)
    exact = np.linalg.norm(vectors[test][:, None] - vectors[train], axis=2)
    monkeypatch.setattr(age_blind, "_BLOCK", 7)
    nearest, distance = find_nearest(vectors, train, test)
    assert nearest.tolist() == train[exact.argmin(axis=1)].tolist()
    assert np.allclose(distance, exact.min(axis=1) ** 2, atol=1e-4)
    labels = np.arange(40) % 3
    assert answer_nearest(vectors, labels, train, test).argmax(axis=1).tolist() == (nearest % 3).tolist()


def test_train_rows_with_a_like_face_are_passed_over_unless_none_is_left() -> None:
    vectors = np.asarray([[0.0], [1], [2], [0.1]], dtype=np.float32)
    faces = np.asarray([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    test = np.asarray([3])
    assert find_nearest(vectors, np.arange(3), test)[0].tolist() == [0]
    assert find_nearest(vectors, np.arange(3), test, apart=faces, limit=0.9)[0].tolist() == [1]
    assert find_nearest(vectors, np.asarray([0, 2]), test, apart=faces, limit=0.9)[0].tolist() == [0]


def test_images_are_described_by_small_pixels_and_by_colors() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    thumbnails[4] = rng.permutation(thumbnails[0].reshape(-1, 3)).reshape(32, 32, 3)  # the same colors
    pixels, colors = (vectors for _, vectors in describe_images(thumbnails))
    assert (pixels.shape, colors.shape) == ((5, 768), (5, 512))
    assert np.allclose(pixels[1].reshape(16, 16, 3)[2, 3], thumbnails[1, 4:6, 6:8].mean(axis=(0, 1)), atol=1)
    assert np.array_equal(colors[4], colors[0])
    assert np.allclose((colors.astype(np.float64) ** 2).sum(axis=1), 1, atol=0.01)
