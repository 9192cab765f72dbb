"""The YuNet of OpenCV Zoo as faces/yunet.py runs it: its sides left open, the ends of its branches joined.

python tools/prepare_yunet.py face_detection_yunet_2023mar.onnx src/threeages/assets/yunet.onnx

The file of OpenCV Zoo ends in four branches for each of three strides, all of a few channels. Together they
fill one block of a processor's vector registers, which each of them takes alone. The weights stay as they
are. Its outputs are `scores` (1, n, 2), class and object, and `places` (1, n, 16), two logits, four numbers of
the box and ten of the landmarks, for the places of all strides in order.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import get_attribute_value, make_node, make_tensor_value_info

STRIDES = (8, 16, 32)
BRANCHES = ("cls", "obj", "bbox", "kps")
SCORES, CHANNELS = 2, 16  # of the first two branches; of all


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
    joined.append(make_node("Concat", [f"flat_{stride}" for stride in STRIDES], ["places"], axis=1))
    bounds = [_add(model, name, np.array([n])) for name, n in (("start", 0), ("end", SCORES), ("axis", 2))]
    joined.append(make_node("Slice", ["places", *bounds], ["logits"]))
    joined.append(make_node("Sigmoid", ["logits"], ["scores"]))
    kept = [node for node in graph.node if node not in ends]
    _replace(graph.node, [*kept, *joined])
    used = {name for node in graph.node for name in node.input}
    _replace(graph.initializer, [weights for weights in graph.initializer if weights.name in used])
    sizes = {"scores": SCORES, "places": CHANNELS}
    outputs = [
        make_tensor_value_info(k, TensorProto.FLOAT, [1, "places of all", n]) for k, n in sizes.items()
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
    """The nodes of one branch that gives what four give."""
    pairs = [[node for node in reversed(branch) if node.op_type == "Conv"] for branch in branches]
    values = {weights.name: numpy_helper.to_array(weights) for weights in model.graph.initializer}
    name = pairs[0][0].input[0]
    for kind, nodes, group in zip(("point", "depth"), zip(*pairs, strict=True), (1, CHANNELS), strict=True):
        parts = [
            _add(model, f"{kind}_{stride}_{i}", np.concatenate([values[node.input[i]] for node in nodes]))
            for i in (1, 2)
        ]
        settings = {entry.name: get_attribute_value(entry) for entry in nodes[0].attribute} | {"group": group}
        yield make_node("Conv", [name, *parts], [f"{kind}_{stride}"], **settings)
        name = f"{kind}_{stride}"
    yield make_node("Transpose", [name], [f"last_{stride}"], perm=[0, 2, 3, 1])
    shape = _add(model, f"shape_{stride}", np.array([1, -1, CHANNELS]))
    yield make_node("Reshape", [f"last_{stride}", shape], [f"flat_{stride}"])


def _add(model: ModelProto, name: str, values: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _replace(field, values) -> None:  # type: ignore[no-untyped-def]
    """Replace the entries of a repeated field."""
    del field[:]
    field.extend(values)


if __name__ == "__main__":
    main()
