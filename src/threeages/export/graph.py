"""Reading an ONNX graph: its convolutions, its constants, and the values inside it."""

from collections.abc import Iterator
from typing import Any

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


def find_makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that puts out each tensor, by the tensor's name."""
    return {output: node for node in graph.node for output in node.output}


class Constants:
    """The constants of a graph as arrays by name; an assignment writes them back."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return np.array(onnx.numpy_helper.to_array(self._tensors[name]))

    def __setitem__(self, name: str, value: NDArray[np.generic]) -> None:
        self._tensors[name].CopyFrom(onnx.numpy_helper.from_array(value, name))


class Tap:
    """Reads tensors inside a graph, one behind the other, for uint8 `pixels` `(n, size, size, 3)`.

    What was read to its end is where the next reading sets out from, so that a walk through a network costs
    little more than one pass. What the graph changes to later, before that tensor, is not seen any more.
    """

    def __init__(self, model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
        self._model = model
        self._pixels = pixels
        self._name = INPUT
        self._values: NDArray[Any] = pixels

    def read(self, name: str) -> Iterator[NDArray[np.float32]]:
        """The values of a float tensor, batch by batch."""
        nodes, bare = _between(self._model.graph, self._name, name)
        if not bare:
            self._name, self._values = INPUT, self._pixels
            nodes, _ = _between(self._model.graph, INPUT, name)
        session = _open_part(self._model, nodes, self._name, name)
        parts = []
        for start in range(0, len(self._pixels), BATCH):
            parts.append(session.run([name], {self._name: self._values[start : start + BATCH]})[0])
            yield parts[-1]
        self._name, self._values = name, np.concatenate(parts)


def _between(graph: onnx.GraphProto, start: str, end: str) -> tuple[list[onnx.NodeProto], bool]:
    """The nodes that lead from one tensor to another, and whether they do without the graph's input."""
    made = find_makers(graph)
    needed: set[str] = set()
    waiting = [end]
    while waiting:
        name = waiting.pop()
        if name not in needed and name != start:
            needed.add(name)
            waiting += made[name].input if name in made else ()
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    return nodes, INPUT not in needed


def _open_part(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], start: str, end: str
) -> onnxruntime.InferenceSession:
    floats = onnx.TensorProto.FLOAT
    given = [onnx.helper.make_tensor_value_info(start, floats, None)] if start != INPUT else model.graph.input
    answers = [onnx.helper.make_tensor_value_info(end, floats, None)]
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "part", given, answers, constants),
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
