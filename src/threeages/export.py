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
from threeages.models.heads import YEARS
from threeages.signature import METADATA_KEY

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports every operator of absent packages

TOLERANCE = 1e-4  # largest difference in a probability between torch and ONNX Runtime
GATE_IMAGES = 4
MIN_HALVED = 256  # values; below it a cast costs more than it saves
HALF_MAX = 65504.0


def export_onnx(model: Classifier, path: Path) -> float:
    """Write uint8 `pixels` `(n, size, size, 3)` -> float32 `probs` `(n, 3)`, and `years` `(n, 101)` where the
    model has that head; returns the largest difference found.

    Raises ModelError, and writes nothing, where ONNX Runtime's answers differ by more than 1e-4.
    """
    answers = _Answers(model)
    content = onnx.load_from_string(trace(answers, model.signature.input_size, *answers.names))
    _halve(content.graph)
    onnx.helper.set_model_props(content, {METADATA_KEY: model.signature.to_json()})
    data = content.SerializeToString()
    worst = _parity(answers, data)
    if worst > TOLERANCE:
        raise ModelError(
            f"The export differs from torch by {worst:.1e} in a probability; {TOLERANCE:.0e} is allowed.",
            hint="Nothing was written. Try another version of torch or onnxruntime.",
        )
    with atomic_path(path) as part:
        part.write_bytes(data)
    return worst


def trace(module: nn.Module, size: int, *outputs: str) -> bytes:
    """ONNX bytes of a module from uint8 `pixels` `(n, size, size, 3)`, with a free batch size."""
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's exporter warns of its own internals
        program = torch.onnx.export(
            module.eval(),
            (example,),
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(buffer)  # type: ignore[arg-type]
    return buffer.getvalue()


def _parity(answers: "_Answers", data: bytes) -> float:
    size = answers.model.signature.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (GATE_IMAGES, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = answers.eval()(torch.from_numpy(pixels))
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(list(answers.names), {"pixels": pixels})
    return max(float(np.abs(f - e.numpy()).max()) for f, e in zip(found, expected, strict=True))


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


class _Answers(nn.Module):
    """`probs` and, where the model has that head, `years`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.names = ("probs", YEARS) if YEARS in model.net.heads else ("probs",)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = self.model.answers(pixels)
        return tuple(found[name] for name in self.names)
