import numpy as np
import pytest

from threeages.inference.occlusion import CELLS, occlude_patches, occlusion_map


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
