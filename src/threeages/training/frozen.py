"""The frozen-feature cache: what a network's frozen stages put out, computed once and kept in float16."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.cache import VERSION
from threeages.data.stored.opening import FEATURES, find_entry, open_stored
from threeages.data.stored.partial import Chunks, Rows, fill_rows
from threeages.errors import DataError, ThreeAgesError
from threeages.export.to_onnx import trace
from threeages.files.disk import format_bytes
from threeages.models.classifier import Classifier
from threeages.sessions import create_session
from threeages.training.device_rows import DeviceRows

FEATURES_FILE = "features.npy"
BATCH = 32
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class FeatureSource:
    """One value an image: uint8 pixels (`depth` 0), or the output of the first `depth` stages.

    `kept` are those that the device has, None where each batch is sent to it.
    """

    values: NDArray[Any]
    depth: int = 0
    kept: DeviceRows | None = None


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

    The entry in `folder` (data.stored) is named by a digest of `key` (the images), the preprocessing and the
    weights of those stages. Raises DataError, before computing, where it would exceed `max_gb` or the free
    space of the disk, and ThreeAgesError where a value leaves the range of float16. The features computed
    before a stop are kept, and the next call resumes with the others.
    """

    def build(part: Path) -> None:
        module = StageSlice(model, source.depth, depth).eval()
        shape = (len(source.values), *_output_shape(module, source.values))
        rows = Rows(len(source.values), BATCH, {FEATURES_FILE: (np.float16, shape)})
        _check_limit(rows.size, max_gb)
        _compute(module, source.values, part, rows)

    entry = open_stored(_find_place(model, key, depth, folder), build)
    return FeatureSource(entry.map_array(FEATURES_FILE), depth)


def find_features(model: Classifier, key: bytes, depth: int, folder: Path) -> FeatureSource | None:
    """The features that `open_features` would open; None where they are not computed yet, or damaged."""
    entry = find_entry(_find_place(model, key, depth, folder))
    return FeatureSource(entry.map_array(FEATURES_FILE), depth) if entry else None


def gains_by_bfloat16(model: Classifier) -> bool:
    """Whether torch in bfloat16 is the fastest way to run the model on this machine."""
    return model.net.prefers_bfloat16 and has_bfloat16()


def has_bfloat16() -> bool:
    """Whether the device has instructions for bfloat16; one without them emulates it slowly."""
    if torch.cuda.is_available():
        # of NVIDIA's cards those before Ampere emulate it too, and torch calls that supported
        return torch.version.hip is not None or torch.cuda.get_device_capability() >= (8, 0)
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # of older releases, without a promise
    return bool(supported()) if supported else False


def _find_place(model: Classifier, key: bytes, depth: int, folder: Path) -> Path:
    return folder / f"{FEATURES}{_digest(model, key, depth)}"


def _compute(module: StageSlice, source: NDArray[Any], part: Path, rows: Rows) -> None:
    def fill(part: Path, starts: Sequence[int]) -> Chunks:
        run = _create_runner(module)
        out = np.load(part / FEATURES_FILE, mmap_mode="r+")
        for start in starts:
            values = run(np.array(source[start : start + BATCH]))  # torch takes no read-only memory
            _check_range(values)
            out[start : start + BATCH] = values
            yield start, {}

    fill_rows(part, rows, fill, f"Frozen stages of {len(source):,} images")


def _check_range(values: NDArray[np.float32]) -> None:
    if not np.abs(values).max() <= FLOAT16_MAX:
        raise ThreeAgesError(
            f"The frozen stages put out {np.abs(values).max():.3g}, which float16 cannot hold.",
            hint="Train without the cache of frozen stages. That is --no-frozen-cache.",
        )


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


def _check_limit(need: int, max_gb: float) -> None:
    if need > 1e9 * max_gb:
        raise DataError(
            f"The frozen-feature cache needs {format_bytes(need)}; {max_gb:g} GB are allowed.",
            hint="Raise --max-cache-gb. Or go without the cache with --no-frozen-cache.",
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
