"""The YuNet of OpenCV Zoo as faces/yunet.py runs it: its sides left open, the ends of its branches joined.

python tools/prepare_yunet.py face_detection_yunet_2023mar.onnx src/threeages/assets/yunet.onnx

The file of OpenCV Zoo ends in four branches for each of three strides, all of a few channels. Together they
fill one block of a processor's vector registers, which each of them takes alone. The weights stay as they
are, and so does every bit of what is found: for that the last layer of the landmarks stays apart, as it would
add in another order. The outputs are `scores` (1, n, 2), class and object, `boxes` (1, n, 4) and `landmarks`
(1, n, 10), for the places of all strides in order.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import get_attribute_value, make_node, make_tensor_value_info

STRIDES = (8, 16, 32)
BRANCHES = ("cls", "obj", "bbox", "kps")
CHANNELS = 16  # of all branches
OUTPUTS = {"scores": (0, 2), "boxes": (2, 6), "landmarks": (6, CHANNELS)}  # and their channels


def main() -> None:
    """Read the first file, write the second."""
    source, target = map(Path, sys.argv[1:])
    model = onnx.load(str(source))
    open_sides(model)
    join_branches(model)
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString())


def open_sides(model: ModelProto) -> None:
    """Leave the sides of the image input open."""
    (images,) = model.graph.input
    for side, name in zip(images.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        side.dim_param = name
    del model.graph.value_info[:]  # shapes between the layers, which held for the fixed sides alone


def join_branches(model: ModelProto) -> None:
    """Replace the four branches of each stride by one, and the twelve outputs by two."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    ends: list[NodeProto] = []
    joined: list[NodeProto] = []
    for stride in STRIDES:
        branches = [list(_branch(made_by, f"{name}_{stride}")) for name in BRANCHES]
        ends += [node for branch in branches for node in branch]
        joined += _join(model, branches, str(stride))
    for name in ("places", "landmarks"):
        joined.append(make_node("Concat", [f"{name}_{stride}" for stride in STRIDES], [name], axis=1))
    joined.append(_slice(model, "places", "logits", 2, *OUTPUTS["scores"]))
    joined.append(make_node("Sigmoid", ["logits"], ["scores"]))
    joined.append(_slice(model, "places", "boxes", 2, *OUTPUTS["boxes"]))
    kept = [node for node in graph.node if node not in ends]
    _replace(graph.node, [*kept, *joined])
    used = {name for node in graph.node for name in node.input}
    _replace(graph.initializer, [weights for weights in graph.initializer if weights.name in used])
    outputs = [
        make_tensor_value_info(name, TensorProto.FLOAT, [1, "places of all", end - start])
        for name, (start, end) in OUTPUTS.items()
    ]
    _replace(graph.output, outputs)


def _branch(made_by: dict[str, NodeProto], name: str) -> Iterator[NodeProto]:
    """The nodes of a branch from its output back to its two convolutions, the pointwise one last."""
    convolutions = 0
    while convolutions < 2:
        node = made_by[name]
        yield node
        name = node.input[0]
        convolutions += node.op_type == "Conv"


def _join(model: ModelProto, branches: list[list[NodeProto]], stride: str) -> Iterator[NodeProto]:
    """The nodes of one branch, and those of its last layer for the landmarks."""
    last, first = zip(
        *([node for node in branch if node.op_type == "Conv"] for branch in branches), strict=True
    )
    point, deep, points = f"point_{stride}", f"deep_{stride}", f"points_{stride}"
    yield _convolve(model, first, first[0].input[0], point, 1)
    yield _convolve(model, last, point, deep, CHANNELS)
    yield from _list_places(model, deep, f"places_{stride}", CHANNELS)
    start, end = OUTPUTS["landmarks"]
    yield _slice(model, point, points, 1, start, end)
    yield _convolve(model, last[-1:], points, f"deep_{points}", end - start)
    yield from _list_places(model, f"deep_{points}", f"landmarks_{stride}", end - start)


def _convolve(
    model: ModelProto, nodes: Sequence[NodeProto], source: str, target: str, group: int
) -> NodeProto:
    """One convolution with the weights of several."""
    values = {weights.name: numpy_helper.to_array(weights) for weights in model.graph.initializer}
    parts = [
        _add(model, f"{target}_{i}", np.concatenate([values[node.input[i]] for node in nodes]))
        for i in (1, 2)
    ]
    settings = {entry.name: get_attribute_value(entry) for entry in nodes[0].attribute} | {"group": group}
    return make_node("Conv", [source, *parts], [target], **settings)


def _list_places(model: ModelProto, source: str, target: str, channels: int) -> Iterator[NodeProto]:
    """From (1, channels, rows, columns) to (1, places, channels)."""
    yield make_node("Transpose", [source], [f"last_{source}"], perm=[0, 2, 3, 1])
    shape = _add(model, f"shape_{source}", np.array([1, -1, channels]))
    yield make_node("Reshape", [f"last_{source}", shape], [target])


def _slice(model: ModelProto, source: str, target: str, axis: int, start: int, end: int) -> NodeProto:
    bounds = {"start": start, "end": end, "axis": axis}
    names = [_add(model, f"{target}_{name}", np.array([n])) for name, n in bounds.items()]
    return make_node("Slice", [source, *names], [target])


def _add(model: ModelProto, name: str, values: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _replace(field, values) -> None:  # type: ignore[no-untyped-def]
    """Replace the entries of a repeated field."""
    del field[:]
    field.extend(values)


if __name__ == "__main__":
    main()
