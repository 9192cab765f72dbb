"""Weights of a TensorFlow.js model: a json file that lists them, and the files of numbers beside it."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]


def read_weights(model: Path) -> Arrays:
    """float32 arrays by name; those stored as float16 are widened.

    The format is that of TensorFlow.js' `weightsManifest`: the files of a group joined hold its arrays in
    the order in which they are listed.
    """
    groups = json.loads(model.read_text(encoding="utf-8"))["weightsManifest"]
    data = b"".join((model.parent / path).read_bytes() for group in groups for path in group["paths"])
    found: Arrays = {}
    start = 0
    for weight in (weight for group in groups for weight in group["weights"]):
        kind = np.dtype(weight.get("quantization", weight)["dtype"])
        values = np.frombuffer(data, kind, int(np.prod(weight["shape"])), start)
        found[weight["name"]] = values.reshape(weight["shape"]).astype(np.float32)
        start += values.nbytes
    return found
