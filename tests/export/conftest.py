from collections.abc import Callable

import numpy as np
import onnx
import pytest

from threeages.export.graph import Constants

Perturb = Callable[[bytes, str, float], bytes]


@pytest.fixture(scope="session")
def perturb() -> Perturb:
    """Function that adds to the first value of the weight whose name ends so, in an ONNX file's bytes."""

    def change(data: bytes, name: str, by: float) -> bytes:
        model = onnx.load_from_string(data)
        [full] = [tensor.name for tensor in model.graph.initializer if tensor.name.endswith(name)]
        constants = Constants(model.graph)
        values = constants[full].astype(np.float32)
        values.flat[0] += by
        constants[full] = values
        content: bytes = model.SerializeToString()
        return content

    return change
