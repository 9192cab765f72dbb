import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.errors import DataError, ModelError
from threeages.export import int8 as int8_module
from threeages.export import to_onnx as export
from threeages.export.graph import Constants, count_groups, find_convs, find_producers
from threeages.export.int8 import equalize
from threeages.export.to_onnx import Faces, Parity, collect_faces, create_int8, export_onnx
from threeages.faces.images import Pixels
from threeages.inference.runtime import OnnxModel
from threeages.labels import UNKNOWN
from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier

SIZE = 64
MIN_AGREEMENT, MAX_LOSS = 0.8, 0.2  # random weights have no margins
Perturb = Callable[[bytes, str, float], bytes]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (700, 4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, SIZE // 4, SIZE // 4, 1), dtype=np.uint8))


@pytest.fixture(scope="module")
def model(pixels: Pixels) -> Classifier:
    """With predictions that differ from image to image, as those of trained weights do."""
    torch.manual_seed(0)
    signature = replace(SIGNATURES["mobilenet_v1_face"], input_size=SIZE)
    model = create_classifier(signature, Architecture(options={"hidden": 16})).eval()
    convs = [m for m in model.net.features.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv in convs:
        torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        torch.nn.init.normal_(conv.bias, std=0.1)
    convs[0].weight.data.mul_(1 / 60)  # pixels are far from unit variance
    with torch.inference_mode():
        logits = model(torch.from_numpy(pixels))["age_group"]
        model.net.head.weight /= logits.std(0)[:, None]
        model.net.head.bias -= logits.mean(0)
        model.net.head.bias /= logits.std(0)
    return model


@pytest.fixture(scope="module")
def exported(
    model: Classifier, pixels: Pixels, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Parity]:
    """The int8 file, and how far it is from torch; made once, as it takes half a minute."""
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    labels = model.probs(torch.from_numpy(pixels)).argmax(1).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "MIN_AGREEMENT", MIN_AGREEMENT)
        patch.setattr(export, "MAX_LOSS", MAX_LOSS)
        return path, export_onnx(model, path, Faces(pixels, labels))


@pytest.fixture(scope="module")
def int8(exported: tuple[Path, Parity]) -> bytes:
    return exported[0].read_bytes()


def test_the_predictions_differ(model: Classifier, pixels: Pixels) -> None:
    counts = np.bincount(model.probs(torch.from_numpy(pixels)).argmax(1).numpy(), minlength=3)
    assert counts.min() > 0.2 * len(pixels)


def test_equalizing_changes_the_scales_and_no_answer(model: Classifier, pixels: Pixels) -> None:
    before = model.probs(torch.from_numpy(pixels[:32])).detach()
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    equal = create_classifier(model.signature, model.architecture).eval()
    equal.load_state_dict(weights)
    equalize(equal, pixels[:320])
    after = equal.probs(torch.from_numpy(pixels[:32])).detach()
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)
    assert any((v != weights[k]).any() for k, v in equal.state_dict().items())


@pytest.mark.parametrize("name", ["attention_cnn", "mobilenet_v2"])
def test_a_model_that_is_no_chain_is_left_as_it_is_aloud(
    pixels: Pixels, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = create_classifier(replace(SIGNATURES[name], input_size=SIZE)).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        equalize(model, pixels)
    assert all((v == before[k]).all() for k, v in model.state_dict().items())
    assert f"{name} is not equalized" in caplog.text


def test_the_int8_form_is_smaller_takes_bytes_and_predicts_alike(
    model: Classifier, pixels: Pixels, exported: tuple[Path, Parity], tmp_path: Path
) -> None:
    export_onnx(model, tmp_path / "float.onnx")
    path, parity = exported
    assert parity.difference <= 1e-4
    assert parity.agreement is not None
    assert parity.agreement >= MIN_AGREEMENT
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


@pytest.mark.parametrize("known", [True, False])
def test_one_wrong_weight_of_the_int8_form_trips_the_parity_gate(
    model: Classifier,
    pixels: Pixels,
    int8: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    perturb: Perturb,
    known: bool,
) -> None:
    """Where labels are known by the accuracy lost, else by the agreement; as it is the form passes both."""
    answers = model.probs(torch.from_numpy(pixels)).argmax(1).numpy()
    faces = Faces(pixels, answers if known else np.full(len(pixels), UNKNOWN))
    monkeypatch.setattr(export, "MIN_AGREEMENT", 0.0 if known else MIN_AGREEMENT)
    monkeypatch.setattr(export, "MAX_LOSS", MAX_LOSS)
    monkeypatch.setattr(export, "create_int8", lambda *_: int8)
    parity = export_onnx(model, tmp_path / "same.onnx", faces)
    assert parity.agreement is not None
    assert parity.agreement < 1
    assert (
        (parity.accuracy_loss == pytest.approx(1 - parity.agreement))
        if known
        else (parity.accuracy_loss, parity.loss_error) == (None, None)
    )

    monkeypatch.setattr(export, "create_int8", lambda *_: perturb(int8, "head.bias", 2.0))
    with pytest.raises(ModelError, match="int8 form agrees"):
        export_onnx(model, tmp_path / "wrong.onnx", faces)
    assert [file.name for file in tmp_path.iterdir()] == ["same.onnx"]


def test_too_few_faces_are_refused(pixels: Pixels) -> None:
    with pytest.raises(DataError, match="too few"):
        Faces(pixels[:100], np.zeros(100, dtype=np.int64))


def test_gptq_brings_the_probabilities_nearer(
    model: Classifier, pixels: Pixels, int8: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rounded to the nearest, their error in the probabilities is more than 1.3 times as large."""
    expected = model.probs(torch.from_numpy(pixels[320:])).detach().numpy()

    def error(content: bytes) -> float:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return float(np.abs(OnnxModel(path).predict(pixels[320:]) - expected).mean())

    monkeypatch.setattr(int8_module, "round_weights", lambda *_: None)
    assert 1.3 * error(int8) < error(create_int8(model, pixels[:320]))


def test_weights_of_full_convolutions_have_seven_bits(int8: bytes) -> None:
    """With eight the instructions of older processors overflow."""
    graph = onnx.load_from_string(int8).graph
    stored = Constants(graph)
    producers = find_producers(graph)
    weights = {conv.input[1]: count_groups(conv) for conv in find_convs(graph)}
    tops = {1: 0, 2: 0}
    for name, groups in weights.items():
        top = int(np.abs(stored[producers[name].input[0]].astype(int)).max())
        tops[min(groups, 2)] = max(tops[min(groups, 2)], top)
    assert tops == {1: 64, 2: 127}


@pytest.mark.parametrize(
    ("label", "n", "words"),
    [
        (UNKNOWN, 700, "No face that checks the int8 form has a label."),
        (2, 700, "No face that checks the int8 form is YOUNG or MIDDLE."),
    ],
)
def test_labels_that_measure_no_loss_are_said_before_any_image_is_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, label: int, n: int, words: str
) -> None:
    monkeypatch.setattr(export, "open_faces", lambda *_, **__: pytest.fail(caplog.text))
    rows = Manifest(Path(), tuple(f"{i}.jpg" for i in range(n)), np.full(n, label))
    with pytest.raises(pytest.fail.Exception, match=words):
        collect_faces(rows, SIGNATURES["cnn"])


def test_too_few_faces_are_said_before_any_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "open_faces", lambda *_, **__: pytest.fail("read an image"))
    with pytest.raises(DataError, match="1 face is too few"):
        collect_faces(Manifest(Path(), ("a.jpg",), np.zeros(1, dtype=np.int64)), SIGNATURES["cnn"])
