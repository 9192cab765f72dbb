"""Write the package's part of the large model: its graph, head and signature, without the image encoder.

    threeages train MANIFEST --recipe large --weights FILE.safetensors --split none --out RUN
    threeages cross-source MANIFEST --recipe large --weights FILE.safetensors --out STUDY --join ...
    python tools/large.py RUN --encoder FILE.safetensors --sources STUDY

The encoder is the file that the run was trained with; the model that is assembled of both must answer as the
run does. The study's answers to sources never met give its temperature, and the thresholds for --max-error
and --coverage. Prints the line for CHECKSUMS in src/threeages/bundled.py.
"""

import argparse
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from release import fit_temperature, rescale

from threeages.data.synthetic import draw_face
from threeages.errors import ModelError, ThreeAgesError
from threeages.evaluation.predictions import join_predictions, load_predictions
from threeages.evaluation.thresholds import measure_thresholds
from threeages.evaluation.unseen import HELD_OUT, name_source
from threeages.export.to_onnx import TOLERANCE, trace_classifier
from threeages.files.checksums import checksum
from threeages.files.writing import write_bytes
from threeages.inference.assemble import assemble
from threeages.inference.named import LargeModel
from threeages.models.classifier import Classifier
from threeages.models.vit import rename_clip
from threeages.models.weights import read_weights
from threeages.sessions import create_session
from threeages.signature import Signature
from threeages.training.checkpoint import load_checkpoint

FEATURES = "model.net.features."  # begins the name of a tensor of the encoder in a traced graph
KEPT = "0.position_embedding"  # in the graph: resized to the model's input, which needs torch
AGES = np.linspace(14, 85, 16)  # years of the drawn faces that the assembled model is verified with


def main() -> None:
    """Write the asset as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=LargeModel.asset)
    args = parser.parse_args()
    try:
        model = load_checkpoint(args.run)[0]
        model.signature = calibrate(model.signature, args.sources)
        write_asset(model, args.encoder, args.out)
    except ThreeAgesError as error:
        raise SystemExit(f"Error: {error}") from None
    print(f'    "{args.out.name}": "{checksum(args.out)}",')


def calibrate(signature: Signature, study: Path) -> Signature:
    """The signature with temperature and thresholds fitted on the sources never met of a study."""
    runs = sorted(path.parent for path in study.glob("all/*/predictions.csv"))
    temperature = fit_temperature(runs)
    tables = []
    for run in runs:
        table = load_predictions(run / "predictions.csv")
        table = rescale(table, load_checkpoint(run)[0].signature.temperature / temperature)
        tables.append(name_source(table, run.name))
    found = measure_thresholds(join_predictions(tables), by=HELD_OUT)
    return found.apply(replace(signature, temperature=temperature))


def write_asset(model: Classifier, encoder: Path, out: Path) -> None:
    """Write the npz that `LargeModel` reads; raises ModelError where the encoder is not the run's."""
    whole = trace_classifier(model)
    pixels = draw_pixels(model.signature.input_size)
    probs = _answer(whole.SerializeToString(), pixels)
    names = remove_encoder(whole.graph, {rename_clip(key): key for key in read_weights(encoder)})
    graph = whole.SerializeToString()
    difference = np.abs(_answer(assemble(graph, names, encoder), pixels) - probs).max()
    if difference > TOLERANCE:
        raise ModelError(
            f"With {encoder} a probability differs by {difference:.1e} from the run's.",
            hint="Give the file that the run was trained with.",
        )
    content = io.BytesIO()
    held = np.frombuffer(graph, np.uint8)
    np.savez_compressed(content, graph=held, names=np.array(names), pixels=pixels, probs=probs)
    write_bytes(out, content.getvalue())


def draw_pixels(size: int) -> NDArray[np.uint8]:
    """Drawn faces of all ages, uint8 `(n, size, size, 3)`."""
    rng = np.random.default_rng(0)
    return np.stack([draw_face(age, identity, rng, size) for identity, age in enumerate(AGES)])


def remove_encoder(graph: onnx.GraphProto, published: dict[str, str]) -> list[str]:
    """Take the encoder's tensors out of a graph; their published names, by which it now lacks them.

    `published` has these by the encoder's own. The graph casts what it lacks from float16.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    casts, names = [], []
    for name, key, transposed in _find_encoder(graph):
        names.append(published[key])
        graph.initializer.remove(tensors[name])
        casts += _cast(published[key], name, transposed)
    nodes = [*casts, *graph.node]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return names


def _find_encoder(graph: onnx.GraphProto) -> Iterator[tuple[str, str, bool]]:
    """Name in the graph, own name, and whether it is transposed, of every tensor of the encoder.

    The tracer keeps the names but those of the matrices, which it transposes: the bias behind them tells.
    """
    held = {tensor.name for tensor in graph.initializer}
    biases = {node.input[0]: node.input[1] for node in graph.node if node.op_type == "Add"}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in held:
            bias = biases[node.output[0]]
            yield node.input[1], bias.removeprefix(FEATURES).removesuffix("bias") + "weight", True
    for name in held:
        key = name.removeprefix(FEATURES)
        if key not in {name, KEPT}:
            yield name, key, False


def _cast(name: str, target: str, transposed: bool) -> list[onnx.NodeProto]:
    """Nodes that make the tensor `target` of the float16 one; ONNX Runtime runs them once, when it loads."""
    middle = f"{target}_cast" if transposed else target
    nodes = [helper.make_node("Cast", [name], [middle], to=onnx.TensorProto.FLOAT)]
    return nodes + ([helper.make_node("Transpose", [middle], [target], perm=[1, 0])] if transposed else [])


def _answer(content: bytes, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = create_session(content).run(["probs"], {"pixels": pixels})[0]
    return found


if __name__ == "__main__":
    main()
