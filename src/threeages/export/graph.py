"""Reading an ONNX graph: its convolutions, its constants, and the values inside it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray

from threeages.sessions import Session, create_session

INPUT = "pixels"
BATCH = 16  # images


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


def find_producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The node that outputs each tensor, by the tensor's name."""
    return {output: node for node in graph.node for output in node.output}


class Constants:
    """The constants of a graph as arrays by name; an assignment writes them back."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return np.array(onnx.numpy_helper.to_array(self._tensors[name]))

    def __setitem__(self, name: str, value: NDArray[np.generic]) -> None:
        self._tensors[name].CopyFrom(onnx.numpy_helper.from_array(value, name))


class ActivationProbe:
    """Reads tensors inside a graph, in the order of the graph, for uint8 `pixels` `(n, size, size, 3)`.

    A tensor that was read to its end is kept, and the next reading is computed from it, so that reading all
    of a network costs little more than one forward pass. A change of the graph before that tensor has no
    effect on later readings.
    """

    def __init__(self, model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
        self._model = model
        self._pixels = pixels
        self._name = INPUT
        self._values: NDArray[Any] = pixels

    def read(self, name: str) -> Iterator[NDArray[np.float32]]:
        """The values `(BATCH, ...)` of a float tensor, batch by batch."""
        nodes, needs_pixels = _find_path(self._model.graph, self._name, name)
        if needs_pixels:
            self._name, self._values = INPUT, self._pixels
            nodes, _ = _find_path(self._model.graph, INPUT, name)
        session = _open_part(self._model, nodes, self._name, name)
        parts = []
        for start in range(0, len(self._pixels), BATCH):
            parts.append(session.run([name], {self._name: self._values[start : start + BATCH]})[0])
            yield parts[-1]
        self._name, self._values = name, np.concatenate(parts)


def _find_path(graph: onnx.GraphProto, start: str, end: str) -> tuple[list[onnx.NodeProto], bool]:
    """The nodes that compute one tensor from another, and whether they need the graph's input too."""
    producers = find_producers(graph)
    needed: set[str] = set()
    waiting = [end]
    while waiting:
        name = waiting.pop()
        if name not in needed and name != start:
            needed.add(name)
            waiting += producers[name].input if name in producers else ()
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    return nodes, INPUT in needed


def _open_part(model: onnx.ModelProto, nodes: list[onnx.NodeProto], start: str, end: str) -> Session:
    """A session of the nodes alone, from the tensor `start` to the tensor `end`."""
    floats = onnx.TensorProto.FLOAT
    inputs = (
        model.graph.input if start == INPUT else [onnx.helper.make_tensor_value_info(start, floats, None)]
    )
    outputs = [onnx.helper.make_tensor_value_info(end, floats, None)]
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "part", inputs, outputs, constants),
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    return create_session(part.SerializeToString())
