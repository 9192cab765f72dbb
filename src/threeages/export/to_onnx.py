"""A classifier as one ONNX file that carries its preprocessing and its signature."""

import io
import logging
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.data.cache import open_faces
from threeages.data.checks import describe_groups
from threeages.data.manifest import Manifest
from threeages.data.train_digests import TrainDigests, format_train_digests
from threeages.errors import DataError, ModelError, format_count
from threeages.export.int8 import equalize, quantize
from threeages.export.quiet import quiet_torch_onnx
from threeages.faces.images import Pixels
from threeages.files.writing import write_bytes
from threeages.inference.model_checksum import add_checksum
from threeages.labels import UNKNOWN, YEARS
from threeages.models.classifier import Classifier
from threeages.sessions import Session, create_session
from threeages.signature import DIGESTS_KEY, METADATA_KEY, Signature

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference in a probability between torch and ONNX Runtime
GATE_IMAGES, GATE_BATCH = 4, 64
CALIBRATION = 320  # faces
CHECKED = 10_000  # faces; with fewer the standard error of the accuracy exceeds MAX_LOSS
MIN_AGREEMENT = 0.99  # of the int8 predictions with those in float32; results/int8.csv has what is usual
MAX_LOSS = 0.003  # of accuracy; a loss fails where it exceeds this by more than its standard error
MIN_FLOAT16_SIZE = 256  # values; below it a cast costs more than it saves
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Faces:
    """Faces for an int8 form: uint8 `pixels` `(n, size, size, 3)`, labels `(n,)`.

    The first CALIBRATION of them calibrate it, the others check it. Raises DataError where they are too few.
    """

    pixels: Pixels
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_number(len(self.pixels))


def _check_number(faces: int) -> None:
    if faces < 2 * CALIBRATION:
        verb = "is" if faces == 1 else "are"
        raise DataError(
            f"{format_count(faces, 'face')} {verb} too few for an int8 form.",
            hint=f"At least {2 * CALIBRATION} are needed: half to calibrate, the rest to check.",
        )


@dataclass(frozen=True)
class Parity:
    """How far an export is from torch.

    `difference` is the largest one of a probability in float32. Of an int8 form `agreement` is the share of
    faces with the same prediction as in float32, `accuracy_loss` the accuracy lost, `loss_error` its
    standard error; both are None where no face that checks it has a label.
    """

    difference: float
    agreement: float | None = None
    accuracy_loss: float | None = None
    loss_error: float | None = None


def export_onnx(
    model: Classifier, path: Path, int8: Faces | None = None, *, digests: TrainDigests | None = None
) -> Parity:
    """Write the model as ONNX: uint8 `pixels` `(n, size, size, 3)` to float32 `probs` `(n, 3)`.

    A model with a head of years has the output `years` `(n, 101)` too. With faces given it is the int8 form.
    The file carries `digests` of what the model was trained on, where they are given.
    Raises ModelError, and writes nothing, where a probability of ONNX Runtime differs from torch's by more
    than TOLERANCE, or the int8 form's predictions from those in float32 by more than MIN_AGREEMENT and
    MAX_LOSS allow.
    """
    outputs = _Outputs(model)
    content = trace_classifier(model)
    _store_float16(content.graph)
    exact = data = add_checksum(content.SerializeToString())
    parity = Parity(_max_difference(outputs, exact))
    if int8 is not None:
        data = create_int8(model, int8.pixels[:CALIBRATION])
        parity = _compare_int8(parity, exact, data, int8)
    _check_parity(parity)
    write_bytes(path, data if digests is None else add_digests(data, digests))
    return parity


def create_int8(model: Classifier, pixels: Pixels) -> bytes:
    """The int8 form of the model as ONNX, calibrated on uint8 `pixels` `(n, size, size, 3)`; not checked."""
    outputs = _Outputs(deepcopy(model))
    equalize(outputs.model, pixels)
    data = quantize(trace(outputs, model.signature.input_size, *outputs.names), pixels)
    return add_checksum(_sign(onnx.load_from_string(data), model).SerializeToString())


def add_digests(data: bytes, digests: TrainDigests) -> bytes:
    """The bytes of an exported model that carries digests of what it was trained on."""
    content = onnx.load_from_string(data)
    props = {METADATA_KEY: next(p.value for p in content.metadata_props if p.key == METADATA_KEY)}
    onnx.helper.set_model_props(content, {**props, DIGESTS_KEY: format_train_digests(digests)})
    return add_checksum(content.SerializeToString())


def collect_faces(manifest: Manifest, signature: Signature, cache_dir: Path | None = None) -> Faces:
    """Faces for the int8 form of a model with that signature: CALIBRATION + CHECKED of a manifest, or all.

    They are spread evenly over the manifest and shuffled; images that cannot be read are not among them.
    Where no face that is to check the form has a label, or none of an age group, a warning is logged. Raises
    DataError where too few faces remain, before any image is read where the manifest is too small.
    """
    _check_number(len(manifest))
    picked = np.linspace(0, len(manifest) - 1, min(len(manifest), CALIBRATION + CHECKED)).astype(np.int64)
    rows = manifest.select(np.random.default_rng(0).permutation(picked))
    for sentence in describe_groups(rows.labels[CALIBRATION:], "face that checks the int8 form"):
        logger.warning("%s The accuracy that it loses there is not measured.", sentence)
    cache = open_faces(rows, signature, folder=cache_dir)
    good = np.setdiff1d(np.arange(len(rows)), list(cache.failed))
    return Faces(cache.pixels[good], rows.labels[good])


def trace(module: nn.Module, size: int, *outputs: str) -> bytes:
    """ONNX bytes of a module from uint8 `pixels` `(n, size, size, 3)`, with a free batch size."""
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    buffer = io.BytesIO()
    with quiet_torch_onnx():
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


def trace_classifier(model: Classifier) -> onnx.ModelProto:
    """The graph of a model with its weights in float32 and its signature, without a checksum."""
    outputs = _Outputs(model)
    data = trace(outputs, model.signature.input_size, *outputs.names)
    return _sign(onnx.load_from_string(data), model)


def _sign(content: onnx.ModelProto, model: Classifier) -> onnx.ModelProto:
    onnx.helper.set_model_props(content, {METADATA_KEY: model.signature.to_json()})
    return content


def _check_parity(parity: Parity) -> None:
    hint = "Nothing was written. "
    if parity.difference > TOLERANCE:
        raise ModelError(
            f"The export differs from torch by {parity.difference:.1e} in a probability; {TOLERANCE:.0e} is "
            "allowed.",
            hint=hint + "Try another version of torch or onnxruntime.",
        )
    if parity.agreement is None:
        return
    loses_too_much, lost = False, ""
    if parity.accuracy_loss is not None and parity.loss_error is not None:
        loses_too_much = parity.accuracy_loss - parity.loss_error > MAX_LOSS
        lost = f" and loses {parity.accuracy_loss:.2%} of accuracy (error {parity.loss_error:.2%})"
    if parity.agreement < MIN_AGREEMENT or loses_too_much:
        raise ModelError(
            f"The int8 form agrees with float32 on {parity.agreement:.2%} of the faces{lost}; at least "
            f"{MIN_AGREEMENT:.0%} and at most {MAX_LOSS:.1%} are needed.",
            hint=hint + "Calibrate with faces like those it was trained on, or export without --int8.",
        )


def _max_difference(outputs: "_Outputs", data: bytes) -> float:
    """The largest difference of a probability between ONNX Runtime and torch, on random pixels."""
    size = outputs.model.signature.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (GATE_IMAGES, size, size, 3), dtype=np.uint8)
    found = create_session(data).run(list(outputs.names), {"pixels": pixels})
    pairs = zip(found, outputs.run(pixels), strict=True)
    return max(float(np.abs(values - expected).max()) for values, expected in pairs)


def _compare_int8(parity: Parity, exact: bytes, data: bytes, faces: Faces) -> Parity:
    """With agreement and accuracy of the int8 form added; `exact` stands for torch, being faster."""
    pixels, labels = faces.pixels[CALIBRATION:], faces.labels[CALIBRATION:]
    expected, found = (_classes(create_session(content), pixels) for content in (exact, data))
    known = labels != UNKNOWN
    lost = ((expected == labels).astype(int) - (found == labels))[known]
    error = float(lost.std() / np.sqrt(len(lost))) if len(lost) else None
    loss = float(lost.mean()) if len(lost) else None
    return replace(parity, agreement=float((found == expected).mean()), accuracy_loss=loss, loss_error=error)


def _classes(session: Session, pixels: Pixels) -> NDArray[np.int64]:
    batches = (pixels[i : i + GATE_BATCH] for i in range(0, len(pixels), GATE_BATCH))
    return np.concatenate([session.run(["probs"], {"pixels": b})[0].argmax(axis=1) for b in batches])


def _store_float16(graph: onnx.GraphProto) -> None:
    """Store weights as float16, cast to float32 at load, where that loses nothing."""
    casts = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < MIN_FLOAT16_SIZE:
            continue
        if np.abs(values).max() > FLOAT16_MAX or (values.astype(np.float16) != values).any():
            continue
        name = tensor.name
        casts.append(onnx.helper.make_node("Cast", [f"{name}_float16"], [name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


class _Outputs(nn.Module):
    """`probs` `(n, 3)` and, where the model has that head, `years` `(n, 101)`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.names = ("probs", YEARS) if YEARS in model.net.heads else ("probs",)

    def run(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        """The outputs by torch, float32."""
        with torch.inference_mode():
            return [found.numpy() for found in self.eval()(torch.from_numpy(np.array(pixels)))]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = self.model.answers(pixels)
        return tuple(found[name] for name in self.names)
