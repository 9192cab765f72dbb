import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threeages.data.augmentation import DEFAULT_AUGMENTATION
from threeages.data.online_augment import IDENTITY_TRANSFORM, OnlineAugmenter, create_pool

N, SIZE = 40, 24


@pytest.fixture
def augmenter(tmp_path: Path) -> OnlineAugmenter:
    rng = np.random.default_rng(0)
    for name in ("crops", "wholes"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8))
    return OnlineAugmenter(tmp_path / "crops.npy", tmp_path / "wholes.npy")


def test_batches_come_in_order_and_the_same_from_any_process(augmenter: OnlineAugmenter) -> None:
    order = [np.arange(10) + start for start in range(0, N, 10)]
    with create_pool() as pool:
        found = list(augmenter.augment_batches(pool, order, (1, 2)))
        rest = list(augmenter.augment_batches(pool, order[3:], (1, 2), 3))
    assert [batch.pixels.tobytes() for batch in rest] == [batch.pixels.tobytes() for batch in found[3:]]
    assert len(found) == len(order)
    for number, batch in enumerate(found):
        alone = augmenter.augment_batch(order[number], (1, 2, number))
        assert np.array_equal(batch.pixels, alone.pixels)
        assert np.array_equal(batch.transforms, alone.transforms)
        assert np.array_equal(batch.is_crop, alone.is_crop)
    assert not np.array_equal(augmenter.augment_batch(order[0], (1, 3, 0)).pixels, found[0].pixels)


def test_the_pixels_are_those_before_the_ranges_became_settings(augmenter: OnlineAugmenter) -> None:
    batch = augmenter.augment_batch(np.arange(N), (1, 2, 3))
    digest = hashlib.blake2b(batch.pixels.tobytes(), digest_size=8)
    digest.update(batch.transforms[batch.is_crop].tobytes() + batch.is_crop.tobytes())
    assert digest.hexdigest() == "7992ab092b615c11"  # at commit 3e78ea4


def test_some_images_are_shown_whole_and_are_not_moved(augmenter: OnlineAugmenter) -> None:
    batch = augmenter.augment_batch(np.tile(np.arange(N), 25), (0,))
    assert batch.pixels.shape == (1000, SIZE, SIZE, 3)
    assert batch.pixels.dtype == np.uint8
    assert 1 - batch.is_crop.mean() == pytest.approx(DEFAULT_AUGMENTATION.whole_image, abs=0.05)
    assert (batch.transforms[~batch.is_crop] == IDENTITY_TRANSFORM).all()
    assert (batch.transforms[batch.is_crop] != IDENTITY_TRANSFORM).any(axis=(1, 2)).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_whole_images_is_a_setting(augmenter: OnlineAugmenter, share: float) -> None:
    augmentation = replace(augmenter.augmentation, whole_image=share)
    batch = replace(augmenter, augmentation=augmentation).augment_batch(np.arange(N), (0,))
    assert batch.is_crop.mean() == 1 - share
