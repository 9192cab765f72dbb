import io
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from threeages.data import duplicates
from threeages.data.duplicates import create_thumbnail, find_near_duplicates, fit_windows, link_rows
from threeages.faces.images import Pixels


def picture(seed: int, side: int = 120) -> Pixels:
    """Noise whose strength falls with its frequency, as that of photos does."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, 60 / k**0.5, (k, k, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
        for k in (3, 6, 12, 24, 48)
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def near(images: list[Pixels]) -> list[list[int]]:
    digests = np.arange(2 * len(images), dtype=np.uint64).view(np.uint8).reshape(-1, 16)
    return find_near_duplicates(np.stack(list(map(create_thumbnail, images))), digests).pairs.tolist()


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "compressed": lambda x: jpeg(x, 30),
    "small": lambda x: cv2.resize(x, (50, 50), interpolation=cv2.INTER_AREA),
    "another shape": lambda x: cv2.resize(x, (90, 140)),
    "darker": lambda x: x // 2,
    "less contrast": lambda x: (x // 2 + 60).astype(np.uint8),
    "grey": lambda x: cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, axis=2),
    "mirrored": lambda x: x[:, ::-1],
    "cropped all around": lambda x: x[9:-11, 12:-7],
    "cropped on one side": lambda x: x[:, 24:],
    "cropped at the top": lambda x: x[20:],
    "mirrored, cropped, compressed": lambda x: jpeg(np.ascontiguousarray(x[8:-8, -10:10:-1]), 60),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_and_nothing_else(name: str) -> None:
    images = [picture(seed) for seed in range(40)]
    copy = np.ascontiguousarray(COPIES[name](images[7]))
    assert near([*images, copy]) == [[7, 40]]
    assert near([copy, *images]) == [[0, 8]]  # whichever comes first


def test_images_without_content_are_near_to_nothing() -> None:
    flat = [np.full((40, 40, 3), value, dtype=np.uint8) for value in (0, 80, 81, 255)]
    assert near([*flat, picture(0)]) == []
    assert near([picture(0)]) == []


def test_rows_with_equal_digests_are_compared_once() -> None:
    image = create_thumbnail(picture(0))
    thumbnails = np.stack([image, image, image[:, ::-1]])
    digests = np.zeros((3, 16), dtype=np.uint8)
    digests[2] = 1
    assert find_near_duplicates(thumbnails, digests).pairs.tolist() == [[0, 2]]


def test_many_images_that_look_alike_are_each_paired_once() -> None:
    base = picture(0).astype(int)
    rng = np.random.default_rng(0)
    images = [(base + rng.integers(-9, 10, base.shape)).clip(0, 255).astype(np.uint8) for _ in range(300)]
    pairs = near(images)
    assert len(pairs) < 2 * len(images)
    assert set(link_rows(len(images), np.asarray(pairs)).tolist()) == {0}


def test_the_search_is_quick_when_all_images_look_alike() -> None:
    rng = np.random.default_rng(0)
    base = create_thumbnail(picture(0)).astype(int)
    thumbnails = (base + rng.integers(-2, 3, (6000, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    digests = np.arange(12_000, dtype=np.uint64).view(np.uint8).reshape(-1, 16)
    start = time.process_time()
    pairs = find_near_duplicates(thumbnails, digests).pairs
    assert time.process_time() - start < 20
    assert set(link_rows(6000, pairs).tolist()) == {0}


def test_the_window_of_a_crop_is_fitted() -> None:
    thumbnails = np.stack([create_thumbnail(x) for x in (picture(0), picture(0)[12:-24, -6:18:-1])])
    windows, likeness = fit_windows(thumbnails, np.asarray([[0, 1]]))
    assert np.abs(windows[0] - [0.1, 0.8, 19 / 120, 114 / 120, 1]).max() < 0.03
    assert likeness[0] > 0.98


def test_linked_rows_have_one_root() -> None:
    assert link_rows(6, np.asarray([[4, 2], [2, 5], [0, 1]])).tolist() == [0, 0, 2, 3, 2, 2]
    assert link_rows(2, np.empty((0, 2), dtype=np.int64)).tolist() == [0, 1]


def test_the_search_by_cells_finds_what_a_comparison_of_all_does(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(seed) for seed in range(60)]
    images += [np.ascontiguousarray(copy(images[i])) for i, copy in enumerate(COPIES.values())]
    found = near(images)
    monkeypatch.setattr(
        duplicates, "_CENTERS", 0
    )  # one cell, so that every image is compared with every other
    assert near(images) == found
    assert len(found) == len(COPIES)


def test_blocks_bound_the_memory_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [picture(seed) for seed in range(40)]
    images += [images[seed] // 2 + 9 * (seed % 5) for seed in (3, 4, 3, 5, 3)]  # copies of one look
    images = [image.astype(np.uint8) for image in images]
    images += [np.ascontiguousarray(copy(images[i])) for i, copy in enumerate(COPIES.values())]
    found = near(images)
    for name in ("_BLOCK", "_PAIRS_BLOCK", "_CELLS_BLOCK", "_HEADS"):
        monkeypatch.setattr(duplicates, name, 7)
    assert near(images) == found
