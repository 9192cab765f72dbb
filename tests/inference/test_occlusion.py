import numpy as np
import pytest
from numpy.typing import NDArray

from threeages.inference.occlusion import CELLS, map_occlusion, occlude_patches, occlusion_map


def test_the_map_shows_where_the_model_looks() -> None:
    pixels = np.full((64, 64, 3), 100, dtype=np.uint8)
    pixels[:16, :16] = 255  # the one part that this model looks at
    probs = [float((copy[:16, :16] == 255).mean()) for copy in occlude_patches(pixels)]
    drops = occlusion_map(1.0, probs)
    assert drops.shape == (CELLS, CELLS)
    assert drops.max() == pytest.approx(1 - min(probs))
    assert drops[:2, :2].min() > 0
    assert drops[3:].max() == drops[:, 3:].max() == 0


def test_a_patch_has_the_mean_colour_and_the_crop_stays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    before = pixels.copy()
    first, *rest = occlude_patches(pixels)
    assert len(rest) + 1 == CELLS**2
    assert (first[:15, :15] == pixels.mean(axis=(0, 1)).astype(np.uint8)).all()
    np.testing.assert_array_equal(first[15:], pixels[15:])
    np.testing.assert_array_equal(pixels, before)


def test_a_probability_that_rises_is_no_drop() -> None:
    assert occlusion_map(0.4, [0.9] * CELLS**2).max() == 0


def test_the_map_of_a_crop_is_that_of_its_copies() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    found = map_occlusion(predict_corner, pixels)
    probs = predict_corner(np.stack([pixels, *occlude_patches(pixels)]))[:, found.group]
    assert found.prob == pytest.approx(float(probs[0]))
    np.testing.assert_array_equal(found.values, occlusion_map(float(probs[0]), probs[1:].tolist()))
    assert found.values.max() > 0


def predict_corner(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A model that looks at the upper left quarter alone: the more spread there, the surer of OLD."""
    half = pixels.shape[1] // 2
    spread = np.minimum(pixels[:, :half, :half].std(axis=(1, 2, 3)) / 100, 0.9)
    return np.stack([0.1 * spread, (1 - spread), 0.9 * spread], axis=1).astype(np.float32)
