"""Convert Keras' ResNet50 (ImageNet) to torchvision's names.

Keras' network is ResNet v1 (He et al., 2015): the stride of a layer lies in its first 1x1 convolution. Its
convolutions have biases, which torchvision's lack, and its batch norm adds another number to the variance;
both are folded into the running statistics, which changes no output. Keras feeds it BGR (mode "caffe");
the first kernel is turned around, so that it takes RGB. `tools/fetch_weights.py` downloads it and calls this.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflowjs import Arrays, read_weights

EPSILON = 1e-5  # of torch's batch norm
PARTS = {"2a": "1", "2b": "2", "2c": "3"}  # Keras' branch and torchvision's number of the convolution
STEM = ("conv1", "conv1", "bn1")
CLASSIFIER = "fc1000"
BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def convert(model: Path) -> dict[str, NDArray[Any]]:
    """Arrays by torchvision's names: kernels in float16, all vectors in float32."""
    found = rename(read_weights(model), read_epsilon(model))
    return {name: a.astype(np.float16) if a.ndim > 1 else a for name, a in found.items()}


def read_epsilon(model: Path) -> float:
    """What Keras' batch norm adds to the variance, which must be one number in the whole model."""
    layers = json.loads(model.read_text(encoding="utf-8"))["modelTopology"]["model_config"]["config"][
        "layers"
    ]
    (epsilon,) = {
        layer["config"]["epsilon"] for layer in layers if layer["class_name"].startswith("BatchNorm")
    }
    return float(epsilon)


def rename(arrays: Arrays, epsilon: float) -> Arrays:
    """float32 arrays by torchvision's names, the classifier's among them."""
    found: Arrays = {}
    for keras, conv, norm in (STEM, *_find_convs(arrays)):
        kernel, bias = arrays[f"{keras}/kernel"], arrays[f"{keras}/bias"]
        own = keras.replace("res", "bn", 1) if keras != STEM[0] else "bn_conv1"
        if keras == STEM[0]:
            kernel = kernel[:, :, ::-1]  # BGR to RGB
        found[f"{conv}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        found |= {f"{norm}.{new}": arrays[f"{own}/{old}"].copy() for new, old in BATCH_NORM.items()}
        found[f"{norm}.running_mean"] -= bias
        found[f"{norm}.running_var"] += epsilon - EPSILON
    found["fc.weight"] = np.ascontiguousarray(arrays[f"{CLASSIFIER}/kernel"].T)
    found["fc.bias"] = arrays[f"{CLASSIFIER}/bias"]
    return found


def _find_convs(arrays: Arrays) -> list[tuple[str, str, str]]:
    """Keras' name and torchvision's of every block's convolutions, and of their batch norms."""
    found = []
    for name in arrays:
        if match := re.fullmatch(r"(res(\d)([a-f])_branch(\d\w?))/kernel", name):
            keras, stage, block, branch = match.groups()
            place = f"layer{int(stage) - 1}.{ord(block) - ord('a')}"
            if branch == "1":
                found.append((keras, f"{place}.downsample.0", f"{place}.downsample.1"))
            else:
                found.append((keras, f"{place}.conv{PARTS[branch]}", f"{place}.bn{PARTS[branch]}"))
    return found
