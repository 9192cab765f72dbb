"""The int8 form of an exported model: convolutions in int8, the head in float32 as before."""

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
from threeages.export.graph import (
    BATCH,
    INPUT,
    ActivationProbe,
    Constants,
    count_groups,
    find_convs,
    find_producers,
)
from threeages.export.quiet import quiet_quantizer
from threeages.models.classifier import Classifier
from threeages.models.mobilenet_v1 import ConcatInput

QUANTIZED = ["Conv", "Clip", "Relu"]
EPSILON = 1e-3  # keeps features that are always 0 from dividing by zero
RELU6_MAX = 6.0
MAX_GAIN = 1000.0
CHAIN = (nn.Conv2d, nn.ReLU6, nn.ZeroPad2d)

log = logging.getLogger(__name__)


def quantize(data: bytes, pixels: NDArray[np.uint8]) -> bytes:
    """The int8 form of an exported graph, as bytes; uint8 `pixels` `(n, size, size, 3)` calibrate it.

    Static, with a scale for each channel of the weights. Weights of full convolutions have seven bits: with
    eight, processors without VNNI instructions saturate and compute something else. The weights are rounded
    with GPTQ (export/gptq.py), and a batch normalisation behind the convolutions takes the means and
    variances of its quantized input. results/int8.csv has what int8 costs.
    """
    with tempfile.TemporaryDirectory() as name, quiet_quantizer():
        traced, prepared, quantized = (Path(name) / f"{step}.onnx" for step in ("traced", "prepared", "int8"))
        traced.write_bytes(data)
        quant_pre_process(traced, prepared, skip_symbolic_shape=True)
        exact = onnx.load(prepared)
        quantize_static(
            prepared,
            quantized,
            _Batches(pixels),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            op_types_to_quantize=QUANTIZED,
            extra_options={"TensorQuantOverrides": _full_range(exact.graph)},
        )
        model = onnx.load(quantized)
    _feed_bytes(model.graph)
    round_weights(model, exact, pixels)
    _recalibrate(model, exact, pixels)
    content: bytes = model.SerializeToString()
    return content


def _full_range(graph: onnx.GraphProto) -> dict[str, list[dict[str, object]]]:
    """Eight bits for the weights of depthwise convolutions: their sums are too short to saturate."""
    depthwise = (n for n in find_convs(graph) if count_groups(n) > 1)
    return {node.input[1]: [{"axis": 0, "reduce_range": False}] for node in depthwise}


def _recalibrate(model: onnx.ModelProto, exact: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    """Correct the statistics of the batch normalisation for the shift and scale that int8 gave its input."""
    node = next((n for n in model.graph.node if n.op_type == "BatchNormalization"), None)
    if node is None:
        log.info("No batch normalisation is recalibrated: the graph has none behind its convolutions.")
        return
    found, expected = (_position_means(form, node.input[0], pixels) for form in (model, exact))
    constants = Constants(model.graph)
    mean, var = (constants[name] for name in node.input[3:5])
    ratio = (found.std(axis=0) + EPSILON) / (expected.std(axis=0) + EPSILON)
    mean = found.mean(axis=0) + ratio * (mean - expected.mean(axis=0))
    for name, array in zip(node.input[3:5], (mean, var * ratio**2), strict=True):
        constants[name] = array.astype(np.float32)


def _position_means(model: onnx.ModelProto, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A tensor `(n, channels, ...)` inside the graph, averaged over the positions to `(n, channels)`."""
    batches = ActivationProbe(model, pixels).read(name)
    return np.concatenate([values.mean(axis=tuple(range(2, values.ndim))) for values in batches])


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
    """Let the first convolution read the uint8 pixels directly, with the mean as zero point and scale 1.

    Casting, subtracting the mean and quantizing only give the pixels back, and take part of the time of a
    face. The measured scale is 1 up to rounding where the images hold black and white. A graph that does not
    begin so, or a mean that is no whole number of all channels, is left as it is, which is logged.
    """
    producers = find_producers(graph)
    chain, constants = [], Constants(graph)
    node = next(n for n in graph.node if n.op_type == "QuantizeLinear")
    while node is not None and INPUT not in node.input:
        chain.append(node)
        node = producers.get(node.input[0])
    kinds = [n.op_type for n in chain]
    if kinds != ["QuantizeLinear", "Sub", "Cast"] or node.op_type != "Transpose":
        log.warning("The int8 graph casts its pixels: it begins with %s, not as expected.", kinds[::-1])
        return
    scale, zero = chain[0].input[1:]
    mean = constants[chain[1].input[1]].ravel()
    if np.ptp(mean) or mean[0] != round(float(mean[0])):
        log.warning("The int8 graph casts its pixels: the mean %s is not one whole number.", mean)
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
    """Scale the channels between two convolutions to the whole range of ReLU6, in place.

    The int8 output of a ReLU6 has one scale for all channels, of which some never leave 0.1. The weights of
    such a channel are multiplied and those that read it divided by the same gain, which changes no output
    (cross-layer equalization; Nagel et al. 2019). uint8 `pixels` `(n, size, size, 3)` show the range of each.
    Features that are no plain chain of convolutions and ReLU6 are left as they are, which is logged.
    """
    convs, activations = _find_chain(model.net.features)
    if not convs:
        log.warning(
            "%s is not equalized: its features are no chain of convolutions and ReLU6.", model.signature.name
        )
        return
    highest = _measure_maxima(model, activations, pixels)
    shared = _find_shared(model.net.features)
    for i, (conv, after) in enumerate(itertools.pairwise(convs)):
        if i in shared:
            continue
        gain = (RELU6_MAX / (1.05 * highest[i])).clamp(1, MAX_GAIN)
        gain[highest[i] > 0.95 * RELU6_MAX] = 1  # it may be clipped there
        conv.weight.data.mul_(gain.view(-1, 1, 1, 1))
        if conv.bias is not None:
            conv.bias.data.mul_(gain)
        after.weight.data.div_(gain.view((-1, 1, 1, 1) if after.groups > 1 else (1, -1, 1, 1)))


def _find_chain(features: nn.Sequential) -> tuple[list[nn.Conv2d], list[nn.ReLU6]]:
    """The convolutions and the ReLU6 behind each; nothing where the features are no such chain."""
    layers = [m for m in features.modules() if not isinstance(m, nn.Sequential)]
    convs = [m for m in layers if isinstance(m, nn.Conv2d)]
    activations = [m for m in layers if isinstance(m, nn.ReLU6)]
    chain = [m for m in layers if isinstance(m, nn.Conv2d | nn.ReLU6)]
    alternating = chain == [m for pair in zip(convs, activations, strict=False) for m in pair]
    plain = all(isinstance(m, CHAIN) for m in layers)
    return (convs, activations) if plain and alternating else ([], [])


def _find_shared(features: nn.Sequential) -> set[int]:
    """Which convolutions' outputs are read by more than the next one: those that a ConcatInput passes on."""
    shared, count = set(), 0
    for module in features.modules():
        if isinstance(module, ConcatInput):
            shared.add(count - 1)
        count += isinstance(module, nn.Conv2d)
    return shared


def _measure_maxima(
    model: Classifier, layers: Sequence[nn.Module], pixels: NDArray[np.uint8]
) -> list[Tensor]:
    """The highest output `(channels,)` of each of the layers."""
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
