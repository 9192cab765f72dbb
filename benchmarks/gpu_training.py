"""What benchmarks/gpu.py measures of training: matrix products, steps of both networks, the frozen stages."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from threeages.data.online_augment import OnlineAugmenter
from threeages.data.split import Rows, Split
from threeages.faces.images import Pixels, resize
from threeages.labels import YEARS
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import MAIN, HeadSpec, years_spec
from threeages.training import frozen
from threeages.training.batches import TrainingData, frozen_stages
from threeages.training.build import configured_signature
from threeages.training.config import TrainConfig
from threeages.training.device_augment import open_device_augmenter
from threeages.training.frozen import StageSlice
from threeages.training.loop import train_epochs
from threeages.training.tasks import ClassificationTask

# of a recipe, what says nothing about speed: which rows, how they are drawn, and which epoch is kept
PLAIN = {"augmented_copies": 1, "balance": "", "logit_adjustment": 0.0, "keep_last": True, "calibrate": False}
AUGMENTED = 64  # images in a batch of a distillation
NOTHING: Rows = np.arange(0)


@dataclass(frozen=True)
class Speed:
    """Images per second of the last epoch, and how much longer the first one took, in seconds."""

    rate: float
    start: float


def draw_pixels(count: int, size: int) -> Pixels:
    """Smooth noise in colour, uint8 `(count, size, size, 3)`: the speed is that of any image."""
    rng = np.random.default_rng(0)
    return np.stack(
        [cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (size, size)) for _ in range(count)]
    )


def measure_products(device: torch.device, dtype: torch.dtype, size: int, seconds: float) -> float:
    """Operations per second of products of square matrices, two for each multiplication and addition."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 * measure_calls(lambda: a @ b, device, seconds)


def measure_calls(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, over some `seconds` and after a call that is not counted."""
    call()
    wait(device)
    calls, start = 0, time.monotonic()
    while (spent := time.monotonic() - start) < seconds or calls < 2:
        call()
        calls += 1
        if calls % 8 == 0 or device.type == "cpu":
            wait(device)  # a GPU is given work ahead, yet not without end
    wait(device)
    return calls / max(time.monotonic() - start, spent)


def wait(device: torch.device) -> None:
    """Let a GPU end what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_training(config: TrainConfig, pixels: Pixels, images: int) -> Speed:
    """The speed of `threeages train` over epochs of about so many images, the second of which counts."""
    batches = max(2, images // config.batch_size)
    rows = np.arange(batches * config.batch_size) % len(pixels)  # of whole batches
    with tempfile.TemporaryDirectory() as folder:
        data = TrainingData(_fit(pixels, config), _draw_targets(config, len(pixels)), b"drawn", Path(folder))
        task = ClassificationTask(create_untrained(config), config.extra_heads)
        split = Split(rows, NOTHING, NOTHING, 0)
        first, second = train_epochs(task, data, split, config, Path(folder) / "run")
    return Speed(second["images_per_second"], first["seconds"] - second["seconds"])


def measure_frozen(config: TrainConfig, pixels: Pixels, device: torch.device, seconds: float) -> float:
    """Images per second through all frozen stages, from the disk's pixels to the cache's float16."""
    module = StageSlice(create_untrained(config), 0, _depth(config)).eval().to(device)
    batch = np.ascontiguousarray(_fit(pixels[: frozen.BATCH], config))
    rate = measure_calls(
        lambda: module.compute(batch, device).cpu().numpy().astype(np.float16), device, seconds
    )
    return rate * len(batch)


def measure_augmented(pixels: Pixels, device: torch.device, seconds: float) -> float:
    """Images per second of the augmentation of a distillation on a device, in batches of AUGMENTED."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "pixels.npy", pixels)
        augmenter = OnlineAugmenter(path, path)
        rows = np.arange(AUGMENTED) % len(pixels)
        on_device = open_device_augmenter(augmenter, np.arange(len(pixels)), device)

        def augment() -> None:
            on_device.augment_batch(rows, augmenter.draw_batch(rows, (0,)))

        return AUGMENTED * measure_calls(augment, device, seconds)


def count_operations(config: TrainConfig, *, learns: bool = True) -> float:
    """Operations for one image, two for each multiplication and addition: a step, or the frozen stages.

    Backward a layer that learns takes twice what it takes forward (torch counts too much there for
    convolutions by channel).
    """
    model = create_untrained(config).eval()
    if not learns:
        return _count_forward(model, _depth(config))
    whole, kept = (
        _count_forward(model, depth) for depth in (None, frozen_stages(model, config.phases()[-1]))
    )
    return whole + 2 * (whole - kept)


def _count_forward(model: Classifier, depth: int | None) -> float:
    """Operations for one image of the first stages, or of all with the heads."""
    size = model.signature.input_size
    pixels = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    module = model if depth is None else StageSlice(model, 0, depth)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(pixels)
    return float(counter.get_total_flops())


def create_untrained(config: TrainConfig) -> Classifier:
    """The network of a recipe with its heads; its weights are random."""
    heads = (HeadSpec(kind=config.head), *(years_spec() for name in config.extra_heads if name == YEARS))
    return create_classifier(configured_signature(config), Architecture(heads, config.options))


def simplify(config: TrainConfig, precision: str, *, compiled: bool = False) -> TrainConfig:
    """Two epochs of a recipe's last phase on pixels, in a precision."""
    head = config.epochs == 0
    phases = (
        {"head_epochs": 2, "epochs": 0} if head else {"head_epochs": 0, "epochs": 2, "frozen_cache": False}
    )
    return replace(config, **PLAIN, **phases, precision=precision, compile=compiled)  # type: ignore[arg-type]


def _draw_targets(config: TrainConfig, count: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    years = {YEARS: rng.integers(0, 101, count)} if YEARS in config.extra_heads else {}
    return {MAIN: rng.integers(0, 3, count), **years}


def _fit(pixels: Pixels, config: TrainConfig) -> Pixels:
    size = config.input_size
    return pixels if pixels.shape[1] == size else np.stack([resize(image, size) for image in pixels])


def _depth(config: TrainConfig) -> int:
    return len(create_untrained(config).net.stages)
