"""What a frozen prefix of a network puts out, computed once and kept on disk in half precision."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from threeages.data.cache import VERSION, remove_leftovers
from threeages.data.stored import FEATURES_FILE
from threeages.errors import DataError, ThreeAgesError
from threeages.export.to_onnx import trace
from threeages.files import atomic_path
from threeages.models.classifier import Classifier

BATCH = 32
HALF_MAX = 65504.0

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Inputs:
    """One value a row: uint8 pixels (`depth` 0), or what leaves the first `depth` stages."""

    values: NDArray[Any]
    depth: int = 0


def open_activations(
    model: Classifier, source: Inputs, key: bytes, depth: int, folder: Path, max_gb: float
) -> Inputs:
    """float16 `(n, ...)` that leaves the first `depth` stages, memory-mapped; computed where not kept yet.

    Computed from `source`, pixels or what leaves fewer stages. Kept in `folder` under a digest of `key` (the
    images'), the preprocessing and the prefix' weights, and written beside its place first. Raises
    DataError, before it computes, where the file would exceed `max_gb` or the disk's free space, and
    ThreeAgesError where a value leaves the range of half precision.
    """
    path = _place(model, key, depth, folder)
    if not path.exists():
        module = Stretch(model, source.depth, depth).eval()
        shape = (len(source.values), *_output_shape(module, source.values))
        _check_room(folder, 2 * int(np.prod(shape)), max_gb)
        with atomic_path(path) as part:
            _compute(module, source.values, part, shape)
    return Inputs(np.load(path, mmap_mode="r"), depth)


def find_activations(model: Classifier, key: bytes, depth: int, folder: Path) -> Inputs | None:
    """What `open_activations` kept, None where it did not."""
    path = _place(model, key, depth, folder)
    return Inputs(np.load(path, mmap_mode="r"), depth) if path.exists() else None


def _place(model: Classifier, key: bytes, depth: int, folder: Path) -> Path:
    return folder / FEATURES_FILE.format(_digest(model, key, depth))


def _compute(module: "Stretch", source: NDArray[Any], path: Path, shape: tuple[int, ...]) -> None:
    run = _runner(module)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    for start in track(range(0, len(source), BATCH), description=f"Frozen part of {len(source):,} images"):
        values = run(np.array(source[start : start + BATCH]))  # torch takes no read-only memory
        if not np.abs(values).max() <= HALF_MAX:
            raise ThreeAgesError(
                f"The frozen part puts out {np.abs(values).max():.3g}, which half precision cannot hold.",
                hint="Train without the cache: --no-prefix-cache.",
            )
        out[start : start + BATCH] = values
    out.flush()


def _runner(module: "Stretch") -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Function from a batch to float activations.

    From pixels on a processor ONNX Runtime does it: 61 images/s against torch's 29 for MobileNet-v1 at 224
    px on 2 AVX2 cores.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not module.start and not gains_by_bfloat16(module.model):
        data = trace(module, module.model.signature.input_size, "features")
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return lambda batch: np.asarray(session.run(None, {"pixels": batch})[0])
    return lambda batch: module.ask(batch, device).cpu().numpy()


def gains_by_bfloat16(model: Classifier) -> bool:
    """Whether torch in bfloat16 is the fastest way to ask it here: a transformer is all linear layers.

    CLIP's tower at 160 px answers 15 images/s so on 2 AVX-512 BF16 cores.
    """
    return model.net.prefers_bfloat16 and has_bfloat16()


def has_bfloat16() -> bool:
    """Whether the device that computes has instructions for it; a processor without emulates it slowly."""
    found: bool = (
        torch.cuda.is_bf16_supported() if torch.cuda.is_available() else torch.cpu._is_avx512_bf16_supported()
    )
    return found


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
            f"The frozen part's activations need {need / 1e9:.2f} GB; {max_gb:g} GB are allowed and {folder} "
            f"has {free / 1e9:.2f} GB free.",
            hint="Make room, name another folder with --cache-dir, raise --max-cache-gb, or go without "
            "the cache with --no-prefix-cache.",
        )


def _digest(model: Classifier, key: bytes, depth: int) -> str:
    """Names pixels, preprocessing and weights, not the traced graph: that holds line numbers of the code."""
    signature = model.signature
    text = f"{VERSION}:{signature.input_size}:{signature.color}:{signature.mean}:{signature.std}:{depth}:"
    text += f"{signature.alignment}:{signature.margin}:"
    digest = hashlib.blake2b(text.encode() + key, digest_size=12)
    for stage in model.net.stages[:depth]:
        for name, value in stage.state_dict().items():
            # plus 0: a moving average turns -0.0 into 0.0, which is the same weight
            digest.update(name.encode() + (value.cpu().numpy() + 0).tobytes())
    return digest.hexdigest()


class Stretch(nn.Module):
    """The stages `start` to `stop` alone, from pixels where `start` is 0."""

    def __init__(self, model: Classifier, start: int, stop: int) -> None:
        super().__init__()
        self.model = model
        self.start = start
        self.body = nn.Sequential(*model.net.stages[start:stop])

    def forward(self, x: Tensor) -> Tensor:
        """What leaves the last of the stages."""
        out: Tensor = self.body(x.float() if self.start else self.model.normalize(x))
        return out

    def ask(self, batch: NDArray[Any], device: torch.device) -> Tensor:
        """float32 that leaves the last of the stages, computed by torch without gradients."""
        half = gains_by_bfloat16(self.model)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            found: Tensor = self.to(device)(torch.from_numpy(batch).to(device))
        return found.float()
