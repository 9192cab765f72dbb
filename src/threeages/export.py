"""A classifier as one ONNX file that carries its preprocessing and its signature."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
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


def export_onnx(model: Classifier, path: Path) -> float:
    """Write uint8 `pixels` `(n, size, size, 3)` -> float32 `probs` `(n, 3)`; the largest difference found.

    Raises ModelError, and writes nothing, where ONNX Runtime's answers differ by more than 1e-4.
    """
    content = onnx.load_from_string(trace(_Probs(model), model.signature.input_size, "probs"))
    onnx.helper.set_model_props(content, {METADATA_KEY: model.signature.to_json()})
    data = content.SerializeToString()
    worst = _parity(model, data)
    if worst > TOLERANCE:
        raise ModelError(
            f"The exported model differs from torch by {worst:.1e} in a probability; {TOLERANCE:.0e} is allowed.",
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
    program.save(buffer)
    return buffer.getvalue()


def _parity(model: Classifier, data: bytes) -> float:
    size = model.signature.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (GATE_IMAGES, size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.eval().probs(torch.from_numpy(pixels)).numpy()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(["probs"], {"pixels": pixels})[0]
    return float(np.abs(found - expected).max())


class _Probs(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.probs(pixels)
