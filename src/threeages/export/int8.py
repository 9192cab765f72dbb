"""An exported model in 8 bits: its convolutions on bytes, its head as it was."""

import contextlib
import io
import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from threeages.export.gptq import round_weights
from threeages.export.graph import BATCH, INPUT, Constants, Tap, count_groups, find_convs, find_makers
from threeages.models.classifier import Classifier

QUANTIZED = ["Conv", "Clip", "Relu"]
SMALL = 1e-3  # keeps features that are never on from dividing by zero
CEILING = 6.0  # where ReLU6 cuts
MAX_GAIN = 1000.0
LAST_CONVS = 2  # of the last block, beside which its input is kept


def quantize(data: bytes, pixels: NDArray[np.uint8]) -> bytes:
    """The int8 form of an exported graph; `pixels` uint8 `(n, size, size, 3)` show its usual ranges.

    Static, a scale for each channel of the weights. Seven bits of those of full convolutions: with eight,
    processors without VNNI instructions overflow and would answer otherwise. The weights are then rounded
    anew, so that each makes up for the others (rounding.py); a batch normalisation behind the convolutions
    takes the means and variances that they have in 8 bits.
    """
    with tempfile.TemporaryDirectory() as name, _quiet():
        whole, ready, small = (Path(name) / f"{part}.onnx" for part in ("whole", "ready", "small"))
        whole.write_bytes(data)
        quant_pre_process(whole, ready, skip_symbolic_shape=True)
        exact = onnx.load(ready)
        quantize_static(
            ready,
            small,
            _Batches(pixels),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=QUANTIZED,
            extra_options={"TensorQuantOverrides": _full_range(exact.graph)},
        )
        model = onnx.load(small)
    _feed_bytes(model.graph)
    round_weights(model, exact, pixels)
    _recalibrate(model, exact, pixels)
    content: bytes = model.SerializeToString()
    return content


def _full_range(graph: onnx.GraphProto) -> dict[str, list[dict[str, object]]]:
    """Eight bits for the weights of depthwise convolutions: their kernels do not overflow."""
    depthwise = (n for n in find_convs(graph) if count_groups(n) > 1)
    return {node.input[1]: [{"axis": 0, "reduce_range": False}] for node in depthwise}


def _recalibrate(model: onnx.ModelProto, exact: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    """Give the batch normalisation the shift and the spread that 8 bits brought to what enters it."""
    node = next((n for n in model.graph.node if n.op_type == "BatchNormalization"), None)
    if node is None:
        return
    found, expected = (_means(form, node.input[0], pixels) for form in (model, exact))
    constants = Constants(model.graph)
    mean, var = (constants[name] for name in node.input[3:5])
    ratio = (found.std(axis=0) + SMALL) / (expected.std(axis=0) + SMALL)
    mean = found.mean(axis=0) + ratio * (mean - expected.mean(axis=0))
    for name, array in zip(node.input[3:5], (mean, var * ratio**2), strict=True):
        constants[name] = array.astype(np.float32)


def _means(model: onnx.ModelProto, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values of a tensor inside the graph, `(n, channels)`: the means of a map."""
    parts = [values.mean(axis=tuple(range(2, values.ndim))) for values in Tap(model, pixels).read(name)]
    return np.concatenate(parts)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._parts: Iterator[NDArray[np.uint8]] = (
            pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch, None after the last."""
        part = next(self._parts, None)
        return None if part is None else {INPUT: part}


def _feed_bytes(graph: onnx.GraphProto) -> None:
    """Let the first convolution take the pixels as they are: with the mean as zero point and the scale 1.

    Cast, subtraction and rounding only give the pixels back, for 0.4 of 1.8 ms a face. The scale that was
    measured is 1 up to rounding where the images hold black and white.
    """
    made = find_makers(graph)
    chain, constants = [], Constants(graph)
    node = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    while node is not None and INPUT not in node.input:
        chain.append(node)
        node = made.get(node.input[0])
    if [n.op_type for n in chain] != ["QuantizeLinear", "Sub", "Cast"] or node.op_type != "Transpose":
        return
    scale, zero = chain[0].input[1:]
    mean = constants[chain[1].input[1]].ravel()
    if np.ptp(mean) or mean[0] != round(float(mean[0])):
        return
    constants[scale] = np.array(1, dtype=np.float32)
    constants[zero] = mean[0].astype(np.uint8).reshape(())
    for user in graph.node:
        if user.op_type == "DequantizeLinear" and user.input[0] == chain[0].output[0]:
            user.input[0] = node.output[0]
    for link in chain:
        graph.node.remove(link)
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def equalize(model: Classifier, pixels: NDArray[np.uint8]) -> None:
    """Let every channel between two convolutions use the whole range from 0 to 6, in place.

    What ReLU6 puts out has one scale for all channels, of which some never leave 0.1. Such a channel is
    multiplied up and the weights behind it divided, which changes no answer (cross-layer equalization, Nagel
    et al. 2019); `pixels` uint8 `(n, size, size, 3)` show how far each goes. Only for a plain chain of
    convolutions and ReLU6.
    """
    layers = [m for m in model.net.features.modules() if not isinstance(m, nn.Sequential)]
    chain = [m for m in layers if isinstance(m, nn.Conv2d | nn.ReLU6)]
    if [isinstance(m, nn.Conv2d) for m in chain] != [True, False] * (len(chain) // 2):
        return
    highest = _highest(model, chain[1::2], pixels)
    convs: list[nn.Conv2d] = chain[::2]  # type: ignore[assignment]
    ends = {len(convs) - 1, len(convs) - 1 - LAST_CONVS}  # what they put out leaves the chain
    for i, (conv, after) in enumerate(itertools.pairwise(convs)):
        if i in ends:
            continue
        gain = (CEILING / (1.05 * highest[i])).clamp(1, MAX_GAIN)
        gain[highest[i] > 0.95 * CEILING] = 1  # it may be cut there
        conv.weight.data.mul_(gain.view(-1, 1, 1, 1))
        if conv.bias is not None:
            conv.bias.data.mul_(gain)
        after.weight.data.div_(gain.view((-1, 1, 1, 1) if after.groups > 1 else (1, -1, 1, 1)))


def _highest(model: Classifier, layers: Sequence[nn.Module], pixels: NDArray[np.uint8]) -> list[Tensor]:
    """The highest value of each channel that leaves each of the layers."""
    found: dict[int, Tensor] = {}

    def note(i: int, out: Tensor) -> None:
        top = out.amax(dim=(0, 2, 3))
        found[i] = torch.maximum(found[i], top) if i in found else top

    hooks = [
        layer.register_forward_hook(lambda _m, _x, out, i=i: note(i, out)) for i, layer in enumerate(layers)
    ]
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            model.eval()(torch.from_numpy(np.array(pixels[start : start + BATCH])))
    for hook in hooks:
        hook.remove()
    return [found[i].clone() for i in range(len(layers))]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library prints advice for its own authors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
