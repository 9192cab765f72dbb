"""The frozen-feature cache: what a network's frozen stages put out, computed once and kept in float16."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.cache import VERSION, remove_leftovers
from threeages.data.stored import FEATURES_FILE
from threeages.errors import DataError, ThreeAgesError
from threeages.export.to_onnx import trace
from threeages.files import atomic_path
from threeages.models.classifier import Classifier
from threeages.progress import track_progress
from threeages.sessions import create_session

BATCH = 32
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class FeatureSource:
    """One value an image: uint8 pixels (`depth` 0), or the output of the first `depth` stages."""

    values: NDArray[Any]
    depth: int = 0


class StageSlice(nn.Module):
    """The stages `start` to `stop` of a model alone, with its normalisation where `start` is 0."""

    def __init__(self, model: Classifier, start: int, stop: int) -> None:
        super().__init__()
        self.model = model
        self.start = start
        self.body = nn.Sequential(*model.net.stages[start:stop])

    def forward(self, x: Tensor) -> Tensor:
        """uint8 pixels `(n, size, size, 3)`, or what enters stage `start`, to the last stage's output."""
        out: Tensor = self.body(x.float() if self.start else self.model.normalize(x))
        return out

    def compute(self, batch: NDArray[Any], device: torch.device) -> Tensor:
        """The same without gradients, float32, in bfloat16 where that is faster."""
        faster = gains_by_bfloat16(self.model)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=faster):
            found: Tensor = self.to(device)(torch.from_numpy(batch).to(device))
        return found.float()


def open_features(
    model: Classifier, source: FeatureSource, key: bytes, depth: int, folder: Path, max_gb: float
) -> FeatureSource:
    """float16 `(n, ...)` output of the first `depth` stages, memory-mapped; computed from `source` if new.

    The file in `folder` is named by a digest of `key` (the images), the preprocessing and the weights of
    those stages. Raises DataError, before computing, where the file would exceed `max_gb` or the free space
    of the disk, and ThreeAgesError where a value leaves the range of float16.
    """
    path = _find_path(model, key, depth, folder)
    if not path.exists():
        module = StageSlice(model, source.depth, depth).eval()
        shape = (len(source.values), *_output_shape(module, source.values))
        _check_room(folder, 2 * int(np.prod(shape)), max_gb)
        with atomic_path(path) as part:
            _compute(module, source.values, part, shape)
    return FeatureSource(np.load(path, mmap_mode="r"), depth)


def find_features(model: Classifier, key: bytes, depth: int, folder: Path) -> FeatureSource | None:
    """The file that `open_features` would open; None where it is not computed yet."""
    path = _find_path(model, key, depth, folder)
    return FeatureSource(np.load(path, mmap_mode="r"), depth) if path.exists() else None


def gains_by_bfloat16(model: Classifier) -> bool:
    """Whether torch in bfloat16 is the fastest way to run the model on this machine."""
    return model.net.prefers_bfloat16 and has_bfloat16()


def has_bfloat16() -> bool:
    """Whether the device has instructions for bfloat16; a processor without them emulates it slowly."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # of older releases, without a promise
    return bool(supported()) if supported else False


def _find_path(model: Classifier, key: bytes, depth: int, folder: Path) -> Path:
    return folder / FEATURES_FILE.format(_digest(model, key, depth))


def _compute(module: StageSlice, source: NDArray[Any], path: Path, shape: tuple[int, ...]) -> None:
    run = _create_runner(module)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    starts = range(0, len(source), BATCH)
    for start in track_progress(starts, f"Frozen stages of {len(source):,} images", len(starts)):
        values = run(np.array(source[start : start + BATCH]))  # torch takes no read-only memory
        if not np.abs(values).max() <= FLOAT16_MAX:
            raise ThreeAgesError(
                f"The frozen stages put out {np.abs(values).max():.3g}, which float16 cannot hold.",
                hint="Train without the cache of frozen stages. That is --no-frozen-cache.",
            )
        out[start : start + BATCH] = values
    out.flush()


def _create_runner(module: StageSlice) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Function from a batch to float32 features.

    From pixels on a processor ONNX Runtime computes them: 61 images/s against torch's 29 for MobileNet-v1 at
    224 px on 2 AVX2 cores.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not module.start and not gains_by_bfloat16(module.model):
        data = trace(module, module.model.signature.input_size, "features")
        session = create_session(data)
        return lambda batch: np.asarray(session.run(None, {"pixels": batch})[0])
    return lambda batch: module.compute(batch, device).cpu().numpy()


def _output_shape(module: nn.Module, source: NDArray[Any]) -> tuple[int, ...]:
    device = next(module.parameters()).device
    with torch.inference_mode():
        return tuple(module(torch.from_numpy(np.array(source[:1])).to(device)).shape[1:])


def _check_room(folder: Path, need: int, max_gb: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    free = shutil.disk_usage(folder).free
    if need > 1e9 * max_gb or need * 1.05 > free:
        raise DataError(
            f"The frozen-feature cache needs {need / 1e9:.2f} GB; {max_gb:g} GB are allowed and {folder} "
            f"has {free / 1e9:.2f} GB free.",
            hint="Make room. Or name another folder with --cache-dir. Or raise --max-cache-gb. Or go without "
            "the cache with --no-frozen-cache.",
        )


def _digest(model: Classifier, key: bytes, depth: int) -> str:
    """Names pixels, preprocessing and weights, not the traced graph: that holds line numbers of the code."""
    signature = model.signature
    text = f"{VERSION}:{signature.input_size}:{signature.color}:{signature.mean}:{signature.std}:{depth}:"
    text += f"{signature.alignment}:{signature.margin}:"
    digest = hashlib.blake2b(text.encode() + key, digest_size=12)
    for stage in model.net.stages[:depth]:
        for name, value in stage.state_dict().items():
            # plus 0: an average of weights turns -0.0 into 0.0, which is the same weight
            digest.update(name.encode() + (value.cpu().numpy() + 0).tobytes())
    return digest.hexdigest()
