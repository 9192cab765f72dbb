"""Augmentation as torch operations beside that of OpenCV, with the same draws, on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.data.online_augment import OnlineAugmenter
from threeages.training.device_augment import DeviceAugmenter, open_device_augmenter, send_batch
from threeages.training.device_jpeg import lose_as_jpeg
from threeages.training.device_rows import move_rows

CPU = torch.device("cpu")
N, SIZE = 24, 50  # neither a multiple of JPEG's blocks nor larger than every size in between
NOTHING = Augmentation(
    rotation=0, log_scale=0, crop_shift=0, mirror=0, whole_image=0, whole_degrade=0, resize=0, blur=0, jpeg=0,
    grey=0, color_cast=0, light=0,
)  # fmt: skip
# mean and largest difference allowed, of 255, and the share of values that differ by more than 1
ROUNDING, TIES = (0.15, 2, 0.001), (0.6, 40, 0.15)
KINDS = {
    "nothing": (NOTHING, (0, 0, 0)),
    "affine": (replace(NOTHING, rotation=10, log_scale=0.15, crop_shift=0.1, mirror=0.5), ROUNDING),
    "resize": (replace(NOTHING, resize=1), ROUNDING),
    "blur": (replace(NOTHING, blur=1), ROUNDING),
    "jpeg": (replace(NOTHING, jpeg=1), TIES),
    "grey": (replace(NOTHING, grey=1), ROUNDING),
    "color_cast": (replace(NOTHING, color_cast=1), ROUNDING),
    "light": (replace(NOTHING, light=1), ROUNDING),
    "whole": (replace(NOTHING, whole_image=1, mirror=0.5), (0, 0, 0)),
    "all": (DEFAULT_AUGMENTATION, TIES),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops and whole images of waves and some noise."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    waves = np.stack([100 * np.sin(x / 7 + y / 11), 90 * np.cos(x / 5), 80 * np.sin(y / 6)], axis=2)
    for name in ("crops", "wholes"):
        images = [127 + np.roll(waves, rng.integers(SIZE), axis=0) for _ in range(N)]
        noisy = np.stack(images) + rng.normal(0, 8, (N, SIZE, SIZE, 3))
        np.save(folder / f"{name}.npy", noisy.clip(0, 255).astype(np.uint8))
    return folder


def _open(files: Path, augmentation: Augmentation) -> tuple[OnlineAugmenter, DeviceAugmenter]:
    augmenter = OnlineAugmenter(files / "crops.npy", files / "wholes.npy", augmentation)
    return augmenter, open_device_augmenter(augmenter, np.arange(N), CPU)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_that_of_opencv_but_for_rounding(kind: str, files: Path) -> None:
    augmentation, (mean, largest, share) = KINDS[kind]
    augmenter, on_device = _open(files, augmentation)
    rows, seed = np.arange(N), (1, 2)
    expected = augmenter.augment_batch(rows, seed)
    found = on_device.augment_batch(rows, augmenter.draw_batch(rows, seed))
    assert found.pixels.dtype == torch.uint8
    assert found.pixels.is_contiguous()
    assert np.array_equal(found.is_crop.numpy(), expected.is_crop)
    assert np.array_equal(found.transforms.numpy(), expected.transforms)
    difference = np.abs(found.pixels.numpy().astype(int) - expected.pixels)
    assert difference.mean() <= mean
    assert difference.max() <= largest
    assert (difference > 1).mean() <= share
    if kind not in ("nothing", "whole"):  # the images were changed by far more than the two differ
        plain = np.load(augmenter.crops)
        assert np.abs(expected.pixels.astype(int) - plain).mean() > 10 * difference.mean()


def test_batches_come_in_order_with_the_draws_of_their_numbers(files: Path) -> None:
    augmenter, on_device = _open(files, DEFAULT_AUGMENTATION)
    kept = tuple(move_rows(values, np.arange(N), CPU) for values in (on_device.crops, on_device.wholes))
    on_device = replace(on_device, kept=kept)
    order = [np.arange(8) + start for start in (16, 0, 8)]
    with ThreadPoolExecutor(1) as pool:
        found = list(on_device.augment_batches(pool, order, (4,)))
        rest = list(on_device.augment_batches(pool, order[2:], (4,), 2))
        expected = list(augmenter.augment_batches(pool, order, (4,)))
    assert len(found) == 3
    assert torch.equal(rest[0].pixels, found[2].pixels)
    for batch, other in zip(found, (send_batch(batch, CPU) for batch in expected), strict=True):
        assert torch.equal(batch.transforms, other.transforms)
        assert (batch.pixels.int() - other.pixels.int()).abs().float().mean() < TIES[0]


def test_every_operation_is_on_the_device(files: Path) -> None:
    """Tensors of torch's device without values refuse to be computed with those of the CPU."""
    augmenter, on_device = _open(files, replace(DEFAULT_AUGMENTATION, resize=1, blur=1, jpeg=1))
    batch = replace(on_device, device=torch.device("meta")).augment_batch(
        np.arange(N), augmenter.draw_batch(np.arange(N), (0,))
    )
    assert {part.device.type for part in (batch.pixels, batch.is_crop, batch.transforms)} == {"meta"}
    assert batch.pixels.shape == (N, SIZE, SIZE, 3)


@pytest.mark.parametrize("quality", [5, 25, 50, 89, 100])
def test_jpeg_loses_what_opencvs_loses(quality: int, files: Path) -> None:
    pixels = np.load(files / "crops.npy")[:4]
    files_in_memory = [cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for p in pixels]
    expected = np.stack([cv2.imdecode(data, cv2.IMREAD_COLOR) for data in files_in_memory])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    found = lose_as_jpeg(images, torch.full((4,), quality)).permute(0, 2, 3, 1).numpy()
    lost = np.abs(expected.astype(int) - pixels).mean()
    assert np.abs(found - expected).mean() < max(0.1 * lost, 0.4)
