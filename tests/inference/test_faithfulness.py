import numpy as np
import pytest
from numpy.typing import NDArray

from threeages.inference.explanation import FaceMap
from threeages.inference.faithfulness import (
    RANDOM_MAPS,
    Faithfulness,
    area_under_curve,
    average_faithfulness,
    deletion_curve,
    insertion_curve,
    measure_faithfulness,
    resize_map,
)

SIZE = 32


def predict_corner(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model that looks at the upper left quarter: probability of OLD by the stripes that are left there."""
    half = SIZE // 2
    corner = pixels[:, :half, :half].astype(np.float64)
    sharp = np.abs(np.diff(corner, axis=2)).mean(axis=(1, 2, 3)) / 255
    return np.stack([(1 - sharp) / 2, (1 - sharp) / 2, sharp], axis=1).astype(np.float32)


def _stripes() -> NDArray[np.uint8]:
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:, ::2] = 255
    return pixels


def _right_map() -> NDArray[np.float64]:
    values = np.zeros((8, 8))
    values[:4, :4] = 1
    return values


def test_curves_begin_and_end_where_they_should() -> None:
    pixels = _stripes()
    whole = float(predict_corner(pixels[None])[0, 2])
    deletion = deletion_curve(predict_corner, pixels, _right_map(), 2, steps=8)
    insertion = insertion_curve(predict_corner, pixels, _right_map(), 2, steps=8)
    assert len(deletion) == len(insertion) == 9
    assert (deletion[0], insertion[-1]) == (pytest.approx(whole), pytest.approx(whole))
    assert deletion[-1] == pytest.approx(0)
    assert insertion[0] < 0.1
    # the quarter that counts is a quarter of the pixels: after 2 of 8 steps hardly anything of it is left
    assert deletion[3] < 0.1 < deletion[1]
    assert insertion[3] > 0.9


def test_a_right_map_beats_random_ones_and_a_wrong_one_does_not() -> None:
    right = measure_faithfulness(predict_corner, _stripes(), FaceMap(2, 1.0, _right_map()))
    wrong = measure_faithfulness(predict_corner, _stripes(), FaceMap(2, 1.0, 1 - _right_map()))
    assert right.deletion < right.random_deletion - 0.1
    assert right.insertion > right.random_insertion + 0.1
    assert wrong.deletion > wrong.random_deletion
    assert wrong.insertion < wrong.random_insertion
    assert 0 <= right.deletion <= right.insertion <= 1


def test_random_maps_are_the_same_for_the_same_seed() -> None:
    found = FaceMap(2, 1.0, np.random.default_rng(0).random((8, 8)))
    first, again, other = (
        measure_faithfulness(predict_corner, _stripes(), found, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first.random_deletion != other.random_deletion
    assert RANDOM_MAPS > 1


def test_the_mean_over_faces_is_that_of_each_area() -> None:
    found = average_faithfulness([Faithfulness(0.0, 0.5, 0.2, 0.4), Faithfulness(0.5, 1.0, 0.4, 0.6)])
    assert found == Faithfulness(0.25, 0.75, pytest.approx(0.3), pytest.approx(0.5))


def test_the_area_is_that_of_trapezoids() -> None:
    assert area_under_curve(np.array([1.0, 1.0, 1.0])) == pytest.approx(1)
    assert area_under_curve(np.array([1.0, 0.5, 0.0])) == pytest.approx(0.5)
    assert area_under_curve(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


def test_a_map_of_any_shape_is_resized() -> None:
    assert resize_map(np.ones((3, 5)), 12).shape == (12, 12)
    assert resize_map(np.ones((3, 5)), 12).min() == 1
