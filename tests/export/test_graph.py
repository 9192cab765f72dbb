import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from threeages.export.graph import (
    BATCH,
    INPUT,
    ActivationProbe,
    Constants,
    count_groups,
    find_convs,
    read_ints,
)

GROUPS = 3


@pytest.fixture
def model() -> onnx.ModelProto:
    """pixels -> as floats, channels first -> a depthwise convolution by 2 -> its negative."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", [INPUT], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "weight"], ["doubled"], group=GROUPS, strides=[2, 2]),
        helper.make_node("Neg", ["doubled"], ["out"]),
    ]
    weight = onnx.numpy_helper.from_array(np.full((GROUPS, 1, 1, 1), 2, dtype=np.float32), "weight")
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, ["n", 4, 4, GROUPS])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (BATCH + 3, 4, 4, GROUPS), dtype=np.uint8)


def test_convolutions_and_their_attributes_are_read(model: onnx.ModelProto) -> None:
    [conv] = find_convs(model.graph)
    assert count_groups(conv) == GROUPS
    assert read_ints(conv, "strides", (1, 1)) == (2, 2)
    assert read_ints(conv, "pads", (0, 0, 0, 0)) == (0, 0, 0, 0)


def test_values_inside_are_seen_batch_by_batch(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    batches = list(ActivationProbe(model, pixels).read("first"))
    assert [len(first) for first in batches] == [BATCH, 3]
    first, doubled = (
        np.concatenate(list(ActivationProbe(model, pixels).read(name))) for name in ("first", "doubled")
    )
    np.testing.assert_array_equal(first, pixels.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(doubled, 2 * first[:, :, ::2, ::2])
    assert [output.name for output in model.graph.output] == ["out"]


def test_a_reading_is_computed_from_what_was_read_to_its_end(
    model: onnx.ModelProto, pixels: NDArray[np.uint8]
) -> None:
    probe = ActivationProbe(model, pixels)
    next(probe.read("first"))  # not to its end
    first = np.concatenate(list(probe.read("first")))
    model.graph.node[1].op_type = "Neg"  # before what was read: seen no more
    constants = Constants(model.graph)
    constants["weight"] = 5 * constants["weight"]
    doubled = np.concatenate(list(probe.read("doubled")))
    np.testing.assert_array_equal(doubled, 2 * 5 * first[:, :, ::2, ::2])
    np.testing.assert_array_equal(np.concatenate(list(probe.read("out"))), -doubled)


def test_a_reading_that_needs_the_pixels_too_starts_from_them(
    model: onnx.ModelProto, pixels: NDArray[np.uint8]
) -> None:
    model.graph.node.append(onnx.helper.make_node("Mul", ["first", "first"], ["squared"]))
    probe = ActivationProbe(model, pixels)
    list(probe.read("doubled"))
    squared = np.concatenate(list(probe.read("squared")))
    np.testing.assert_array_equal(squared, pixels.transpose(0, 3, 1, 2).astype(np.float32) ** 2)


def test_a_constant_that_is_set_is_in_the_graph(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    constants = Constants(model.graph)
    constants["weight"] = 5 * constants["weight"]
    [doubled] = ActivationProbe(model, pixels[:1]).read("doubled")
    first = pixels[:1].astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(doubled, 2 * 5 * first[:, :, ::2, ::2])
