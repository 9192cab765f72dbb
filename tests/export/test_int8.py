from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from threeages.errors import DataError, ModelError
from threeages.export import int8 as quantize
from threeages.export import to_onnx as export
from threeages.export.graph import Constants, count_groups, find_convs, find_makers
from threeages.export.int8 import equalize
from threeages.export.to_onnx import Faces, Parity, create_int8, export_onnx
from threeages.faces.images import Pixels
from threeages.inference.runtime import OnnxModel
from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier

SIZE = 64


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (700, 4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, SIZE // 4, SIZE // 4, 1), dtype=np.uint8))


@pytest.fixture(scope="module")
def model() -> Classifier:
    """With answers that differ from image to image, as those of trained weights do."""
    torch.manual_seed(0)
    signature = replace(SIGNATURES["mobilenet_v1_face"], input_size=SIZE)
    model = create_classifier(signature, Architecture(options={"hidden": 16})).eval()
    model.net.head.weight.data.mul_(100)
    convs = [m for m in model.net.features.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv in convs:
        torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        torch.nn.init.normal_(conv.bias, std=0.1)
    convs[0].weight.data.mul_(1 / 60)  # pixels are far from unit variance
    return model


@pytest.fixture(scope="module")
def exported(
    model: Classifier, pixels: Pixels, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Parity]:
    """The file in 8 bits, and how far it stands from torch; made once, as it takes a minute."""
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    labels = model.probs(torch.from_numpy(pixels)).argmax(1).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIN_AGREEMENT", 0.8)  # random weights have no margins
        patch.setattr(export, "MAX_LOSS", 0.2)
        return path, export_onnx(model, path, Faces(pixels, labels))


@pytest.fixture(scope="module")
def int8(exported: tuple[Path, Parity]) -> bytes:
    return exported[0].read_bytes()


def test_equalizing_changes_the_scales_and_no_answer(model: Classifier, pixels: Pixels) -> None:
    before = model.probs(torch.from_numpy(pixels[:32])).detach()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    equal = create_classifier(model.signature, model.architecture).eval()
    equal.load_state_dict(weights)
    equalize(equal, pixels[:320])
    after = equal.probs(torch.from_numpy(pixels[:32])).detach()
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)
    assert any((v != weights[k]).any() for k, v in equal.state_dict().items())


def test_a_model_that_is_no_chain_is_left_as_it_is(pixels: Pixels) -> None:
    model = create_classifier(SIGNATURES["attention_cnn"]).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    equalize(model, pixels)
    assert all((v == before[k]).all() for k, v in model.state_dict().items())


def test_the_int8_form_is_smaller_takes_bytes_and_answers_alike(
    model: Classifier, pixels: Pixels, exported: tuple[Path, Parity], tmp_path: Path
) -> None:
    export_onnx(model, tmp_path / "float.onnx")
    path, parity = exported
    assert parity.difference <= 1e-4
    assert parity.agreement is not None
    assert parity.agreement >= 0.8
    assert parity.accuracy_loss == pytest.approx(1 - parity.agreement)  # the labels are torch's answers
    sizes = [file.stat().st_size for file in (path, tmp_path / "float.onnx")]
    assert sizes[0] < 0.5 * sizes[1]
    nodes = [n.op_type for n in onnx.load(path).graph.node]
    assert "Cast" not in nodes
    assert "Sub" not in nodes
    small = OnnxModel(path)
    assert small.signature == model.signature
    expected = model.probs(torch.from_numpy(pixels[320:])).detach().numpy()
    assert (small.predict(pixels[320:]).argmax(1) == expected.argmax(1)).mean() == parity.agreement


@pytest.mark.parametrize(("bound", "value"), [("MIN_AGREEMENT", 1.01), ("MAX_LOSS", -1.0)])
def test_a_form_that_answers_otherwise_is_not_written(
    model: Classifier,
    pixels: Pixels,
    int8: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: float,
) -> None:
    monkeypatch.setattr(export, "create_int8", lambda *_: int8)
    monkeypatch.setattr(export, "MIN_AGREEMENT", 0.0)
    monkeypatch.setattr(export, bound, value)
    with pytest.raises(ModelError, match="In 8 bits"):
        export_onnx(model, tmp_path / "m.onnx", Faces(pixels, np.zeros(len(pixels), dtype=np.int64)))
    assert not list(tmp_path.iterdir())


def test_too_few_faces_are_refused(pixels: Pixels) -> None:
    with pytest.raises(DataError, match="too few"):
        Faces(pixels[:100], np.zeros(100, dtype=np.int64))


def test_weights_rounded_anew_bring_the_answers_nearer(
    model: Classifier, pixels: Pixels, int8: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rounded to the nearest, their error in the probabilities is more than 1.3 times as large."""
    expected = model.probs(torch.from_numpy(pixels[320:])).detach().numpy()

    def error(content: bytes) -> float:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return float(np.abs(OnnxModel(path).predict(pixels[320:]) - expected).mean())

    monkeypatch.setattr(quantize, "round_weights", lambda *_: None)
    assert 1.3 * error(int8) < error(create_int8(model, pixels[:320]))


def test_weights_of_full_convolutions_have_seven_bits(int8: bytes) -> None:
    """With eight the instructions of older processors overflow."""
    graph = onnx.load_from_string(int8).graph
    stored = Constants(graph)
    made = find_makers(graph)
    weights = {conv.input[1]: count_groups(conv) for conv in find_convs(graph)}
    tops = {1: 0, 2: 0}
    for name, groups in weights.items():
        top = int(np.abs(stored[made[name].input[0]].astype(int)).max())
        tops[min(groups, 2)] = max(tops[min(groups, 2)], top)
    assert tops == {1: 64, 2: 127}
