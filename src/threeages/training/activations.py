"""What a frozen prefix of a network puts out, computed once and kept on disk in half precision."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from rich.progress import track
from torch import Tensor, nn

from threeages.data.cache import VERSION
from threeages.errors import DataError, ThreeAgesError
from threeages.export import trace
from threeages.manifest import atomic_path
from threeages.models.classifier import Classifier
from threeages.models.network import Prefix

DEFAULT_FOLDER = user_cache_path("threeages") / "features"
BATCH = 32
HALF_MAX = 65504.0

Halves = NDArray[np.float16]


def open_activations(
    model: Classifier, pixels: NDArray[np.uint8], key: bytes, depth: int, folder: Path, max_gb: float
) -> Halves:
    """float16 `(n, ...)` that leaves the first `depth` stages, memory-mapped; computed where not kept yet.

    Kept in `folder` under a digest of `key` (the images'), the preprocessing and the prefix' weights, and
    written beside its place first. Raises DataError, before it computes, where the file would exceed
    `max_gb` or the disk's free space, and ThreeAgesError where a value leaves the range of half precision.
    """
    path = folder / f"prefix-{_digest(model, key, depth)}.npy"
    if not path.exists():
        module = _FromPixels(model, depth).eval()
        shape = (len(pixels), *_output_shape(module, model.signature.input_size))
        _check_room(folder, 2 * int(np.prod(shape)), max_gb)
        with atomic_path(path) as part:
            _compute(module, pixels, part, shape)
    found: Halves = np.load(path, mmap_mode="r")
    return found


def _compute(module: "_FromPixels", pixels: NDArray[np.uint8], path: Path, shape: tuple[int, ...]) -> None:
    run = _runner(module)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for start in track(range(0, len(pixels), BATCH), description=f"Frozen part of {len(pixels):,} images"):
        values = run(np.asarray(pixels[start : start + BATCH]))
        if not np.abs(values).max() <= HALF_MAX:
            raise ThreeAgesError(
                f"The frozen part puts out {np.abs(values).max():.3g}, which half precision cannot hold.",
                hint="Train without the cache: --no-prefix-cache.",
            )
        out[start : start + BATCH] = values
    out.flush()


def _runner(module: "_FromPixels") -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Function from uint8 pixels to float activations, on the GPU where there is one.

    On a processor ONNX Runtime does it: 61 images/s against torch's 29 for MobileNet-v1 at 224 px on 2 AVX2
    cores.
    """
    if torch.cuda.is_available():
        module = module.cuda()

        def on_gpu(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return module(torch.from_numpy(batch).cuda()).float().cpu().numpy()  # type: ignore[no-any-return]

        return on_gpu
    data = trace(module, module.model.signature.input_size, "features")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def on_cpu(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return session.run(None, {"pixels": batch})[0]  # type: ignore[no-any-return]

    return on_cpu


def _output_shape(module: nn.Module, size: int) -> tuple[int, ...]:
    with torch.inference_mode():
        return tuple(module(torch.zeros((1, size, size, 3), dtype=torch.uint8)).shape[1:])


def _check_room(folder: Path, need: int, max_gb: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if need > 1e9 * max_gb or need * 1.05 > free:
        raise DataError(
            f"The frozen part's activations need {need / 1e9:.2f} GB; {max_gb:g} GB are allowed and {folder} "
            f"has {free / 1e9:.2f} GB free.",
            hint="Make room, name another folder with --cache-dir, raise --max-cache-gb, or go without "
            "the cache with --no-prefix-cache.",
        )


def _digest(model: Classifier, key: bytes, depth: int) -> str:
    """Names pixels, preprocessing and weights, not the traced graph: that holds line numbers of the code."""
    signature = model.signature
    text = f"{VERSION}:{signature.input_size}:{signature.color}:{signature.mean}:{signature.std}:{depth}:"
    digest = hashlib.blake2b(text.encode() + key, digest_size=12)
    for stage in model.net.stages[:depth]:
        for name, value in stage.state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


class _FromPixels(nn.Module):
    def __init__(self, model: Classifier, depth: int) -> None:
        super().__init__()
        self.model = model
        self.prefix = Prefix(model.net, depth)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.prefix(self.model.normalize(pixels))
        return out
