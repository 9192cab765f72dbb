"""A classifier as one ONNX file that carries its preprocessing and its signature."""

import contextlib
import io
import logging
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.cache import open_faces
from threeages.data.manifest import Manifest
from threeages.errors import DataError, ModelError
from threeages.export.int8 import equalize, quantize
from threeages.faces.images import Pixels
from threeages.files import atomic_path
from threeages.labels import UNKNOWN, YEARS
from threeages.models.classifier import Classifier
from threeages.signature import METADATA_KEY, Signature

logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports every operator of absent packages

TOLERANCE = 1e-4  # largest difference in a probability between torch and ONNX Runtime
GATE_IMAGES, GATE_BATCH = 4, 64
CALIBRATION = 320  # faces
CHECKED = 10_000  # of fewer the share of right answers is not sure to 0.3 points
MIN_AGREEMENT = 0.99  # people never seen: 0.9915 (results/int8.csv); faces on the edge change sides
MAX_LOSS = 0.003  # more than its standard error above this fails
MIN_HALVED = 256  # values; below it a cast costs more than it saves
HALF_MAX = 65504.0


@dataclass(frozen=True)
class Faces:
    """Faces for an int8 form: uint8 `pixels` `(n, size, size, 3)`, labels `(n,)`.

    The first CALIBRATION of them show the usual ranges, the others check the answers.
    """

    pixels: Pixels
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.pixels) < 2 * CALIBRATION:
            raise DataError(
                f"{len(self.pixels)} faces are too few for an int8 form.",
                hint=f"At least {2 * CALIBRATION} are needed: half to calibrate, the rest to check.",
            )


@dataclass(frozen=True)
class Parity:
    """How far an export stands from torch: the largest difference of a probability in float32; in int8 the
    share of faces with the same answer, and the accuracy lost with its standard error."""

    difference: float
    agreement: float | None = None
    accuracy_loss: float | None = None
    loss_error: float = 0.0


def export_onnx(model: Classifier, path: Path, int8: Faces | None = None) -> Parity:
    """Write uint8 `pixels` `(n, size, size, 3)` -> float32 `probs` `(n, 3)`, and `years` `(n, 101)` where the
    model has that head; in 8 bits where faces for it are given.

    Raises ModelError, and writes nothing, where ONNX Runtime's answers differ from torch's by more than 1e-4,
    or in 8 bits for more than 1 % of the faces or, surely, by more than 0.3 points of accuracy.
    """
    answers = _Answers(model)
    content = onnx.load_from_string(trace(answers, model.signature.input_size, *answers.names))
    _halve(content.graph)
    exact = data = _with_signature(content, model)
    parity = Parity(_difference(answers, exact))
    if int8 is not None:
        data = create_int8(model, int8.pixels[:CALIBRATION])
        parity = _compare(parity, exact, data, int8)
    _gate(parity)
    with atomic_path(path) as part:
        part.write_bytes(data)
    return parity


def create_int8(model: Classifier, pixels: Pixels) -> bytes:
    """The model's ONNX file in 8 bits, calibrated on uint8 `pixels` `(n, size, size, 3)`; not checked yet."""
    equal = _Answers(deepcopy(model))
    equalize(equal.model, pixels)
    data = quantize(trace(equal, model.signature.input_size, *equal.names), pixels)
    return _with_signature(onnx.load_from_string(data), model)


def collect_faces(manifest: Manifest, signature: Signature, cache_dir: Path | None = None) -> Faces:
    """Faces for the int8 form of a model with that signature: up to 10,320 of a manifest's, evenly spread."""
    picked = np.linspace(0, len(manifest) - 1, min(len(manifest), CALIBRATION + CHECKED)).astype(np.int64)
    rows = manifest.select(np.random.default_rng(0).permutation(picked))
    cache = open_faces(rows, signature, folder=cache_dir)
    good = np.setdiff1d(np.arange(len(rows)), list(cache.failed))
    return Faces(cache.pixels[good], rows.labels[good])


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


def _with_signature(content: onnx.ModelProto, model: Classifier) -> bytes:
    onnx.helper.set_model_props(content, {METADATA_KEY: model.signature.to_json()})
    data: bytes = content.SerializeToString()
    return data


def _gate(parity: Parity) -> None:
    hint = "Nothing was written. "
    if parity.difference > TOLERANCE:
        raise ModelError(
            f"The export differs from torch by {parity.difference:.1e} in a probability; {TOLERANCE:.0e} is "
            "allowed.",
            hint=hint + "Try another version of torch or onnxruntime.",
        )
    if parity.agreement is None or parity.accuracy_loss is None:
        return
    if parity.agreement < MIN_AGREEMENT or parity.accuracy_loss - parity.loss_error > MAX_LOSS:
        raise ModelError(
            f"In 8 bits {parity.agreement:.2%} of the answers are torch's and {parity.accuracy_loss:.2%} of "
            f"accuracy (error {parity.loss_error:.2%}) are lost; {MIN_AGREEMENT:.0%} and {MAX_LOSS:.1%} are "
            "allowed.",
            hint=hint + "Give faces like those it was trained on, or leave --int8 out.",
        )


def _difference(answers: "_Answers", data: bytes) -> float:
    size = answers.model.signature.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (GATE_IMAGES, size, size, 3), dtype=np.uint8)
    found = _session(data).run(list(answers.names), {"pixels": pixels})
    pairs = zip(found, answers.run(pixels), strict=True)
    return max(float(np.abs(said - expected).max()) for said, expected in pairs)


def _compare(parity: Parity, exact: bytes, data: bytes, faces: Faces) -> Parity:
    """With the figures of the int8 form beside the float32 one, which agrees with torch and is faster."""
    pixels, labels = faces.pixels[CALIBRATION:], faces.labels[CALIBRATION:]
    expected, found = (_classes(_session(content), pixels) for content in (exact, data))
    known = labels != UNKNOWN
    lost = ((expected == labels).astype(int) - (found == labels))[known]
    error = float(lost.std() / np.sqrt(len(lost))) if len(lost) else 0.0
    loss = float(lost.mean()) if len(lost) else 0.0
    return replace(parity, agreement=float((found == expected).mean()), accuracy_loss=loss, loss_error=error)


def _classes(session: onnxruntime.InferenceSession, pixels: Pixels) -> NDArray[np.int64]:
    batches = (pixels[i : i + GATE_BATCH] for i in range(0, len(pixels), GATE_BATCH))
    return np.concatenate([session.run(["probs"], {"pixels": b})[0].argmax(axis=1) for b in batches])


def _session(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


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

    def run(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        """What torch answers."""
        with torch.inference_mode():
            return [found.numpy() for found in self.eval()(torch.from_numpy(np.array(pixels)))]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = self.model.answers(pixels)
        return tuple(found[name] for name in self.names)
