import hashlib
from dataclasses import replace

import numpy as np
import pytest

from threeages.data.augment import PLAIN, WHOLE, augment_whole, create_copy, degrade, random_affine
from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.demo import find_portraits
from threeages.faces.crop import TEMPLATE, Face, align_crop, whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image, resize
from threeages.faces.yunet import YuNet

SIZE, MARGIN, ALIGNMENT = 64, 0.03, 0.85
AUGMENTED = 2
UNDEGRADED = Augmentation(resize=0, blur=0, jpeg=0, grey=0, color_cast=0, light=0)


@pytest.fixture(scope="module")
def portrait() -> tuple[Pixels, Face]:
    pixels = load_image(find_portraits()[0])
    return pixels, find_faces(pixels, YuNet())[0]


def _copy(
    image: tuple[Pixels, Face], copy: int, row: int = 0, augmentation: Augmentation = DEFAULT_AUGMENTATION
) -> Pixels:
    return create_copy(*image, copy, row, SIZE, margin=MARGIN, alignment=ALIGNMENT, augmentation=augmentation)


def _pattern(side: int) -> Pixels:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:side, 0 : side + 10]
    waves = (100 * np.sin(x / 7 + y / 11), 90 * np.cos(x / 5), 80 * np.sin(y / 6))
    noise = rng.normal(0, 10, (side, side + 10, 3))
    return (127 + np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8)


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for values in arrays:
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("copy", "expected"),
    enumerate(("d5fa0c569f1fe6c0", "9605895fc6a7a564", "f585f02d7a06436a", "90798d20850387e3")),
)
def test_the_default_copies_are_those_that_the_shipped_model_saw(copy: int, expected: str) -> None:
    """Digests of the pixels before the ranges became settings (commit 3e78ea4)."""
    pixels = _pattern(96)
    face = whole_image(pixels, (TEMPLATE * 80 + 8).astype(np.float32))
    assert _digest(*(_copy((pixels, face), copy, row) for row in range(30))) == expected


def test_the_default_augmentation_while_training_is_the_same_too() -> None:
    crop = _pattern(74)[:64, :64]
    moved, degraded, whole_images = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pixels, transform = random_affine(crop, DEFAULT_AUGMENTATION, rng)
        moved += [degrade(pixels, DEFAULT_AUGMENTATION, rng), transform]
        degraded.append(degrade(crop, DEFAULT_AUGMENTATION, np.random.default_rng(seed)))
        whole_images.append(augment_whole(crop, DEFAULT_AUGMENTATION, np.random.default_rng(seed)))
    assert _digest(*moved) == "6eccd8adad0311e5"
    assert _digest(*degraded) == "6decb64192612c6c"
    assert _digest(*whole_images) == "0f0003b15f289939"


def test_the_first_copy_is_the_crop_in_use(portrait: tuple[Pixels, Face]) -> None:
    assert (_copy(portrait, PLAIN) == align_crop(*portrait, SIZE, margin=MARGIN, alignment=ALIGNMENT)).all()


def test_the_second_copy_is_the_whole_image_and_in_some_rows_mirrored_or_degraded(
    portrait: tuple[Pixels, Face],
) -> None:
    plain = resize(portrait[0], SIZE)
    copies = [_copy(portrait, WHOLE, row) for row in range(40)]
    same = [(copy == plain).all() for copy in copies]
    mirrored = [(copy[:, ::-1] == plain).all() for copy in copies]
    assert 2 <= sum(same) < 20
    assert 2 <= sum(mirrored) < 20


def test_a_copy_is_the_same_at_every_call_and_another_for_every_row_number_and_seed(
    portrait: tuple[Pixels, Face],
) -> None:
    first = _copy(portrait, AUGMENTED)
    assert (first == _copy(portrait, AUGMENTED)).all()
    assert (first != _copy(portrait, AUGMENTED, row=1)).any()
    assert (first != _copy(portrait, AUGMENTED + 1)).any()
    assert (first != _copy(portrait, AUGMENTED, augmentation=Augmentation(seed=8))).any()


def test_an_augmented_copy_shows_the_same_face(portrait: tuple[Pixels, Face]) -> None:
    plain = _copy(portrait, PLAIN).mean(axis=2)
    alike = []
    for row in range(20):
        found = _copy(portrait, AUGMENTED, row).mean(axis=2)
        alike.append(max(np.corrcoef(plain.ravel(), side.ravel())[0, 1] for side in (found, found[:, ::-1])))
    assert min(alike) > 0.2
    assert np.median(alike) > 0.5


def test_without_any_probability_and_range_a_copy_is_the_crop_in_use(portrait: tuple[Pixels, Face]) -> None:
    still = replace(UNDEGRADED, rotation=0, log_scale=0, landmark_shift=0, mirror=0, box_shift=0, surround=0)
    difference = _copy(portrait, AUGMENTED, augmentation=still).astype(int) - _copy(portrait, PLAIN)
    assert np.abs(difference).max() <= 1  # the landmarks pass through complex numbers
    assert (
        np.abs(_copy(portrait, AUGMENTED, augmentation=UNDEGRADED).astype(int) - _copy(portrait, PLAIN)).max()
        > 20
    )


def test_some_copies_show_strips_of_other_surroundings_and_all_show_the_face() -> None:
    pixels = np.full((80, 80, 3), 100, dtype=np.uint8)
    image = pixels, whole_image(pixels, (TEMPLATE * 80).astype(np.float32))
    copies = [_copy(image, AUGMENTED, row, UNDEGRADED) for row in range(40)]
    strange = np.stack([(copy != 100).any(axis=2) for copy in copies])
    assert 3 <= strange.any(axis=(1, 2)).sum() <= 20
    assert strange.any(axis=0).mean() > 0.3
    assert not strange[:, SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 2 - 8 : SIZE // 2 + 8].any()


def test_a_face_without_landmarks_is_degraded_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    assert _copy((pixels, whole_image(pixels)), AUGMENTED).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("seed", range(30))
def test_degraded_pixels_stay_bytes_of_the_same_size(seed: int) -> None:
    pixels = np.full((SIZE, SIZE, 3), 250, dtype=np.uint8)
    found = degrade(pixels, DEFAULT_AUGMENTATION, np.random.default_rng(seed))
    assert found.dtype == np.uint8
    assert found.shape == pixels.shape


def test_a_moved_crop_says_where_its_points_lie() -> None:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    ramp = np.stack([2 * x + 40, 2 * y + 40, np.full_like(x, 99)], axis=2).astype(np.uint8)
    mirrored = set()
    for seed in range(20):
        moved, transform = random_affine(ramp, DEFAULT_AUGMENTATION, np.random.default_rng(seed))
        mirrored.add(bool(transform[0, 0] < 0))
        for column, row in ((32, 32), (24, 40), (45, 30)):
            point = (2 * np.array([column, row]) + 1) / SIZE - 1
            found = (transform @ [*point, 1] + 1) * SIZE / 2 - 0.5
            assert moved[row, column, :2] == pytest.approx(2 * found + 40, abs=2)
    assert mirrored == {True, False}
