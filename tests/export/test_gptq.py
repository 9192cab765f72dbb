"""GPTQ through round_weights, on graphs of two convolutions small enough to be quantized in a moment."""

import logging
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from threeages.export import int8
from threeages.export.gptq import _patches, round_weights
from threeages.export.graph import INPUT, Constants, find_convs, find_producers

SIZE, CHANNELS = 12, 8
Pixels = NDArray[np.uint8]

SETTINGS: list[dict[str, Any]] = [
    {},
    {"strides": [2, 2]},
    {"dilations": [2, 2]},
    {"group": 2},
    {"group": CHANNELS},
]


def _pixels(seed: int) -> Pixels:
    """Neighbouring pixels that are alike, as in photos: GPTQ lives on inputs that are correlated."""
    coarse = np.random.default_rng(seed).integers(0, 256, (64, SIZE // 4, SIZE // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 4, 4, 1), dtype=np.uint8))


def _create_graph(settings: dict[str, Any]) -> onnx.ModelProto:
    """pixels -> floats, channels first -> 3x3 convolution, ReLU -> 3x2 convolution of uneven padding."""
    rng = np.random.default_rng(1)
    second = (CHANNELS, CHANNELS // settings.get("group", 1), 3, 2)
    arrays = {
        "w1": rng.normal(0, 0.02, (CHANNELS, 3, 3, 3)),
        "b1": rng.normal(0, 0.1, CHANNELS),
        "w2": rng.normal(0, 0.3, second),
        "b2": rng.normal(0, 0.1, CHANNELS),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["out"], name="conv2", pads=[0, 1, 2, 1], **settings),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", CHANNELS, None, None])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _quantize_nearest(exact: onnx.ModelProto, pixels: Pixels) -> onnx.ModelProto:
    """The int8 form with every weight rounded to the nearest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "round_weights", lambda *_: None)
        return onnx.load_from_string(int8.quantize(exact.SerializeToString(), pixels))


def _run(model: onnx.ModelProto, pixels: Pixels) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {INPUT: pixels})[0]
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_rounded_weights_err_less_than_the_nearest(settings: dict[str, Any]) -> None:
    exact = _create_graph(settings)
    nearest = _quantize_nearest(exact, _pixels(0))
    rounded = deepcopy(nearest)
    round_weights(rounded, exact, _pixels(0))
    expected = _run(exact, _pixels(2))
    errors = [np.square(_run(model, _pixels(2)) - expected).mean() for model in (rounded, nearest)]
    assert errors[0] < 0.75 * errors[1]


def test_rounded_weights_stay_in_the_bits_of_the_nearest() -> None:
    exact = _create_graph({})
    model = _quantize_nearest(exact, _pixels(0))
    before = _read_weights(model)
    round_weights(model, exact, _pixels(0))
    after = _read_weights(model)
    assert any((new != old).any() for new, old in zip(after, before, strict=True))
    for new, old in zip(after, before, strict=True):
        assert new.dtype == old.dtype == np.int8
        assert np.abs(new.astype(int)).max() <= np.abs(old.astype(int)).max() == 64


def test_the_bias_takes_the_mean_error_that_remains() -> None:
    exact = _create_graph({})
    model = _quantize_nearest(exact, _pixels(0))
    nearest = deepcopy(model)
    round_weights(model, exact, _pixels(0))
    expected = _run(exact, _pixels(0))
    shifts = [np.abs((_run(m, _pixels(0)) - expected).mean((0, 2, 3))).max() for m in (model, nearest)]
    assert shifts[0] < 0.5 * shifts[1]


def test_the_weights_make_up_for_an_input_that_int8_shrank() -> None:
    """The input of the second convolution is scaled by 0.7, and its weights may be as much larger."""
    exact = _create_graph({})
    nearest = _quantize_nearest(exact, _pixels(0))
    _, second = find_convs(nearest.graph)
    producers, constants = find_producers(nearest.graph), Constants(nearest.graph)
    dequantize, (weight, step) = producers[second.input[0]], producers[second.input[1]].input[:2]
    scale = numpy_helper.from_array((0.7 * constants[dequantize.input[1]]).astype(np.float32), "shrunk_scale")
    nearest.graph.initializer.append(scale)
    dequantize.input[1] = scale.name  # its own: the scale that quantizes the input stays
    smaller = np.round(0.7 * constants[weight].astype(float)).astype(np.int8)
    smaller.flat[0] = 64  # the largest says how many bits the weights have
    constants[weight] = smaller
    constants[step] = (constants[step] / 0.7).astype(np.float32)
    round_weights(nearest, exact, _pixels(0))
    expected = _run(exact, _pixels(2))
    error = _run(nearest, _pixels(2)) - expected
    unmet = 0.3**2  # the share of the variance that is missing where the weights stay as they are
    assert (error.var((0, 2, 3)) < 0.5 * unmet * expected.var((0, 2, 3))).all()


def test_a_convolution_in_float32_is_skipped_aloud(caplog: pytest.LogCaptureFixture) -> None:
    exact = _create_graph({})
    with caplog.at_level(logging.WARNING):
        round_weights(model := deepcopy(exact), exact, _pixels(0))
    assert [record.args for record in caplog.records] == [("conv1",), ("conv2",)]
    assert model == exact


@pytest.mark.parametrize("settings", [{}, {"strides": [2, 2]}, {"dilations": [2, 2]}, {"group": 2}], ids=str)
def test_patches_times_kernels_are_a_convolution(settings: dict[str, Any]) -> None:
    """Exact, where errors of rounding would hide a patch that is off by a pixel: neighbours are alike."""
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 1], **settings)
    groups = settings.get("group", 1)
    x = torch.randn(3, 4, 9, 10, generator=torch.Generator().manual_seed(0))
    kernels = torch.randn(6, 4 // groups, 3, 2, generator=torch.Generator().manual_seed(1))
    patches = _patches(np.asarray(x), conv, tuple(kernels.shape))
    found = kernels.reshape(groups, 6 // groups, -1) @ patches
    stride, dilation = settings.get("strides", 1), settings.get("dilations", 1)
    expected = F.conv2d(F.pad(x, (1, 1, 0, 2)), kernels, None, stride, 0, dilation, groups)
    torch.testing.assert_close(found.flatten(0, 1), expected.transpose(0, 1).flatten(1))


def _read_weights(model: onnx.ModelProto) -> list[NDArray[np.generic]]:
    producers, constants = find_producers(model.graph), Constants(model.graph)
    return [constants[producers[conv.input[1]].input[0]] for conv in find_convs(model.graph)]
