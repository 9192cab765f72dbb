import shutil
from pathlib import Path

import numpy as np
import pytest

from threeages.data.manifest import Manifest
from threeages.models.vit import NUM_FEATURES, WIDTH
from threeages.training import frozen
from threeages.training.teachers import open_encoder_features, open_encoder_tokens, open_network_features

ALIGNMENT = 0.85  # the network of faces'


@pytest.mark.slow
def test_tokens_are_computed_once_and_pooled_from_what_is_kept(
    manifest: Manifest, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = str(encoder)
    tokens = open_encoder_tokens(manifest, weights, ALIGNMENT, tmp_path, max_gb=1)
    assert tokens.shape == (len(manifest), 1 + 10 * 10, WIDTH)  # patches of 16 of 160 pixels
    (kept,) = tmp_path.glob("features-*")
    pooled = open_encoder_features(manifest, weights, ALIGNMENT, tmp_path, max_gb=1)
    assert pooled.shape == (len(manifest), NUM_FEATURES)
    np.testing.assert_allclose(pooled[:, :WIDTH], tokens[:, 0], atol=1e-3)
    mean = tokens[:, 1:].astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(pooled[:, WIDTH:], mean, atol=0.02)  # float16
    monkeypatch.setattr(frozen, "_compute", lambda *_: pytest.fail("was computed again"))
    assert np.array_equal(open_encoder_tokens(manifest, weights, ALIGNMENT, tmp_path, max_gb=1), tokens)
    shutil.rmtree(kept)  # the pooled features alone take a fiftieth of the room
    again = open_encoder_features(manifest, weights, ALIGNMENT, tmp_path, max_gb=1)
    assert np.array_equal(again, pooled)
    with pytest.raises(pytest.fail.Exception):
        open_encoder_tokens(manifest, weights, 0.7, tmp_path, max_gb=1)  # another crop


@pytest.mark.slow
def test_a_networks_features_are_those_at_its_published_size(manifest: Manifest, cache_dir: Path) -> None:
    found = open_network_features(manifest, "mobilenet_v1_face", "random", cache_dir, max_gb=1)
    assert found.shape == (len(manifest), 2048)
    again = open_network_features(manifest, "mobilenet_v1_face", "random", cache_dir, max_gb=1)
    assert np.array_equal(found, again)
    pixels = [np.load(file, mmap_mode="r").shape for file in cache_dir.glob("*/pixels.npy")]
    assert (len(manifest), 224, 224, 3) in pixels
