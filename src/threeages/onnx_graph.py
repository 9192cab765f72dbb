"""Reading an ONNX graph: its convolutions, its constants, and the values inside it."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
from numpy.typing import NDArray

INPUT = "pixels"
BATCH = 16


def find_convs(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Its convolutions, in order."""
    return [node for node in graph.node if node.op_type == "Conv"]


def count_groups(conv: onnx.NodeProto) -> int:
    """Into how many groups a convolution divides its channels: 1, or all in a depthwise one."""
    return read_ints(conv, "group", (1,))[0]


def read_ints(node: onnx.NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of one or more whole numbers; the default where the node has none."""
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else tuple(found.ints) or (int(found.i),)


class Constants:
    """The constants of a graph as arrays by name; an assignment writes them back."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return np.array(onnx.numpy_helper.to_array(self._tensors[name]))

    def __setitem__(self, name: str, value: NDArray[np.generic]) -> None:
        self._tensors[name].CopyFrom(onnx.numpy_helper.from_array(value, name))


def tap(model: onnx.ModelProto, name: str, pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """The values of a tensor inside the graph, batch by batch of uint8 `pixels` `(n, size, size, 3)`."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]  # what lies behind is not computed
    tapped.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every weight that lies behind
    session = onnxruntime.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for start in range(0, len(pixels), BATCH):
        yield session.run([name], {INPUT: pixels[start : start + BATCH]})[0]
