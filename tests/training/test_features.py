from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.training.build import create_model, open_data
from threeages.training.checkpoint import BEST, save_checkpoint
from threeages.training.config import TrainConfig
from threeages.training.features import EMBEDDING, POOLED, open_manifest_features

SMALL = TrainConfig(model="cnn", input_size=48, options={"filters": [4, 8], "kernels": [3, 3]}, folds=3)


def test_a_recipe_gives_pooled_features_and_every_fold(manifest: Manifest, cache_dir: Path) -> None:
    found = open_manifest_features(manifest, SMALL, cache_dir=cache_dir)
    assert found.kind == POOLED
    assert found.values.shape == (len(manifest), 8 * 10 * 10)
    tests = np.concatenate([split.test for split in found.splits])
    assert sorted(tests) == list(range(len(manifest)))
    assert np.isfinite(found.values).all()


def test_a_run_gives_what_its_heads_take_and_its_own_split(
    manifest: Manifest, cache_dir: Path, tmp_path: Path
) -> None:
    config = replace(SMALL, fold=1)
    model = create_model(config).eval()
    save_checkpoint(tmp_path / BEST, model)
    found = open_manifest_features(manifest, config, tmp_path, cache_dir)
    assert found.kind == EMBEDDING
    cache, split = open_data(manifest, config, cache_dir)
    np.testing.assert_array_equal(found.splits[0].test, split.test)
    assert len(found.splits) == 1
    pixels = torch.from_numpy(np.array(cache.pixels[:4]))
    with torch.inference_mode():
        expected = model.net.embed(model.normalize(pixels)).numpy()
    np.testing.assert_allclose(found.values[:4], expected, rtol=0.02, atol=0.02)  # features are float16


def test_copies_of_a_training_are_left_out(manifest: Manifest, cache_dir: Path) -> None:
    config = replace(SMALL, augmented_copies=2)
    values = open_manifest_features(manifest, config, cache_dir=cache_dir).values
    assert len(values) == len(manifest)
    plain = open_manifest_features(manifest, SMALL, cache_dir=cache_dir).values
    np.testing.assert_allclose(values, plain, rtol=0.02, atol=0.02)


def test_a_random_split_is_refused(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match="'random'"):
        open_manifest_features(manifest, replace(SMALL, split="random"))
