"""A classifier as one ONNX file that carries its preprocessing and its signature."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from torch import Tensor, nn

from threeages.errors import ModelError
from threeages.manifest import atomic_path
from threeages.models.classifier import Classifier
from threeages.signature import METADATA_KEY

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports every operator of absent packages

TOLERANCE = 1e-4  # largest difference in a probability between torch and ONNX Runtime
GATE_IMAGES = 4
MIN_HALVED = 256  # values; below it a cast costs more than it saves
HALF_MAX = 65504.0


def export_onnx(model: Classifier, path: Path) -> float:
    """Write uint8 `pixels` `(n, size, size, 3)` -> float32 `probs` `(n, 3)`; the largest difference found.

    Raises ModelError, and writes nothing, where ONNX Runtime's answers differ by more than 1e-4.
    """
    content = onnx.load_from_string(trace(_Probs(model), model.signature.input_size, "probs"))
    _halve(content.graph)
    onnx.helper.set_model_props(content, {METADATA_KEY: model.signature.to_json()})
    data = content.SerializeToString()
    worst = _parity(model, data)
    if worst > TOLERANCE:
        raise ModelError(
            f"The export differs from torch by {worst:.1e} in a probability; {TOLERANCE:.0e} is allowed.",
            hint="Nothing was written. Try another version of torch or onnxruntime.",
        )
    with atomic_path(path) as part:
        part.write_bytes(data)
    return worst


def trace(module: nn.Module, size: int, output: str) -> bytes:
    """ONNX bytes of a module from uint8 `pixels` `(n, size, size, 3)`, with a free batch size."""
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=["pixels"],
            output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(buffer)  # type: ignore[arg-type]
    return buffer.getvalue()


def _parity(model: Classifier, data: bytes) -> float:
    size = model.signature.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (GATE_IMAGES, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.eval().probs(torch.from_numpy(pixels)).numpy()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(["probs"], {"pixels": pixels})[0]
    return float(np.abs(found - expected).max())


def _halve(graph: onnx.GraphProto) -> None:
    """Store in half precision, cast back at load, what loses nothing by it: weights that came as halves."""
    casts = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_HALVED:
            continue
        if np.abs(values).max() > HALF_MAX or (values.astype(np.float16) != values).any():
            continue
        name = tensor.name
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


class _Probs(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.probs(pixels)
