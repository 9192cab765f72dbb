"""The graph of SFace made fit for batches: `data` alone is its input, and its weights are constants."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from threeages.errors import MissingDependencyError
from threeages.sessions import create_session

INPUT = "data"
FREE = "n"  # the name of the first axis, which the file fixes at one face


def prepare_graph(content: bytes) -> bytes:
    """The bytes of an equal model that takes float32 `data` `(n, 3, 112, 112)` and nothing else.

    The file lists its weights as inputs, and stores some in int8, so that each run would compute them again;
    its PRelu nodes take most of the time. Raises MissingDependencyError without the package onnx.
    """
    onnx = _import_onnx()
    model = onnx.load_from_string(content)
    _fold_constants(onnx, model)
    _split_prelu(onnx, model.graph)
    kept = [item for item in model.graph.input if item.name == INPUT]
    _replace(model.graph.input, kept)
    _replace(model.graph.value_info, ())
    for item in (*model.graph.input, *model.graph.output):
        item.type.tensor_type.shape.dim[0].dim_param = FREE
    found: bytes = model.SerializeToString()
    return found


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ModuleNotFoundError as error:
        raise MissingDependencyError("onnx", "audit") from error
    return onnx


def _fold_constants(onnx: Any, model: Any) -> None:
    """Replace nodes that depend on constants alone by what they compute."""
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    folded: list[Any] = []
    rest: list[Any] = []
    for node in graph.node:  # in the order of computation
        constant = known.issuperset(filter(None, node.input))
        (folded if constant else rest).append(node)
        known.update(node.output if constant else ())
    used = {name for node in rest for name in node.input}
    names = [name for node in folded for name in node.output if name in used]
    if names:
        values = _compute(onnx, model, folded, names)
        graph.initializer.extend(map(onnx.numpy_helper.from_array, values, names))
    _replace(graph.node, rest)


def _compute(onnx: Any, model: Any, nodes: list[Any], names: list[str]) -> list[Any]:
    """The tensors of these names, which the nodes compute from constants."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for field, items in (
        ("input", ()),
        ("value_info", ()),
        ("node", nodes),
        ("output", [onnx.helper.make_empty_tensor_value_info(name) for name in names]),
    ):
        _replace(getattr(part.graph, field), items)
    values: list[Any] = create_session(part.SerializeToString(), threads=1).run(names, {})
    return values


def _split_prelu(onnx: Any, graph: Any) -> None:
    """Replace every PRelu by `slope * x + (1 - slope) * relu(x)`, the same but for rounding."""
    slopes = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue
        (x, slope), out = node.input, node.output[0]
        positive, share, one, two = (f"{out}/{name}" for name in ("relu", "share", "one", "two"))
        rest = np.float32(1) - onnx.numpy_helper.to_array(slopes[slope])
        graph.initializer.append(onnx.numpy_helper.from_array(rest, share))
        nodes += [
            onnx.helper.make_node("Relu", [x], [positive]),
            onnx.helper.make_node("Mul", [x, slope], [one]),
            onnx.helper.make_node("Mul", [positive, share], [two]),
            onnx.helper.make_node("Add", [one, two], [out]),
        ]
    _replace(graph.node, nodes)


def _replace(field: Any, items: Iterable[Any]) -> None:
    kept = list(items)
    del field[:]
    field.extend(kept)
