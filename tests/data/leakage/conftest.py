"""A tiny model that is written as the OpenCV zoo writes SFace."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from threeages.data.leakage.sface_graph import INPUT


@pytest.fixture(scope="session")
def sface() -> bytes:
    """Its weights are among the inputs, some made from int8; it has a PRelu and takes one face."""
    side = 112
    rng = np.random.default_rng(0)
    values = {
        "quantized": rng.integers(-100, 100, (4, 3, 16, 16), dtype=np.int8),
        "scale": np.float32(0.001),
        "zero": np.int8(3),
        "slope": np.asarray([-0.4, 0.2, 0.9, 1.1], dtype=np.float32).reshape(4, 1, 1),
        "project": rng.normal(size=(128, 4 * (side // 16) ** 2)).astype(np.float32),
        "bias": np.zeros(128, dtype=np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["kernel"]),
        helper.make_node("Conv", [INPUT, "kernel"], ["a"], strides=[16, 16]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "project", "bias"], ["fc1"], transB=1),
    ]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 3, side, side])]
    inputs += [helper.make_tensor_value_info("kernel", TensorProto.FLOAT, [4, 3, 16, 16]),
               helper.make_tensor_value_info("slope", TensorProto.FLOAT, [4, 1, 1])]  # fmt: skip
    outputs = [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [1, 128])]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "sface", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
