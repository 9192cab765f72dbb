from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from threeages.data.train_digests import create_train_digests, parse_train_digests
from threeages.errors import ModelError
from threeages.export import to_onnx as export
from threeages.export.to_onnx import trace
from threeages.inference.runtime import OnnxModel, replace_signature
from threeages.models import vit
from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier
from threeages.models.heads import DEFAULT_HEADS, years_spec

Perturb = Callable[[bytes, str, float], bytes]


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    return create_classifier(replace(SIGNATURES["cnn"], input_size=64, temperature=1.5)).eval()


def test_the_file_carries_all_that_predicting_needs(model: Classifier, tmp_path: Path) -> None:
    export.export_onnx(model, tmp_path / "m.onnx")
    found = OnnxModel(tmp_path / "m.onnx")
    assert found.signature == model.signature
    for n in (1, 5):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)
        expected = model.probs(torch.from_numpy(pixels)).detach().numpy()
        np.testing.assert_allclose(found.predict(pixels), expected, atol=1e-5)


@pytest.mark.slow
def test_years_are_answered_by_a_model_that_has_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    heads = Architecture((*DEFAULT_HEADS, years_spec()))
    both = create_classifier(replace(SIGNATURES["cnn"], input_size=64), heads).eval()
    export.export_onnx(both, tmp_path / "m.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    probs, years = OnnxModel(tmp_path / "m.onnx").predict_all(pixels)
    assert probs.shape == (3, 3)
    np.testing.assert_allclose(years, both.years(torch.from_numpy(pixels)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("weight", ["head.weight", "features.0.0.weight"])
def test_one_wrong_weight_trips_the_parity_gate(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perturb: Perturb, weight: str
) -> None:
    def trace_wrongly(module: nn.Module, size: int, *outputs: str) -> bytes:
        return perturb(trace(module, size, *outputs), weight, 0.5)

    monkeypatch.setattr(export, "trace", trace_wrongly)
    with pytest.raises(ModelError, match="differs from torch"):
        export.export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_as_traced_passes_the_parity_gate(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perturb: Perturb
) -> None:
    monkeypatch.setattr(export, "trace", lambda *args: perturb(trace(*args), "head.weight", 0.0))
    assert 0 <= export.export_onnx(model, tmp_path / "m.onnx").difference <= export.TOLERANCE
    assert (tmp_path / "m.onnx").exists()


@pytest.mark.slow
def test_weights_that_float16_holds_are_stored_in_it(model: Classifier, tmp_path: Path) -> None:
    export.export_onnx(model, tmp_path / "float32.onnx")
    rounded = create_classifier(model.signature).eval()
    rounded.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    export.export_onnx(rounded, tmp_path / "float16.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in ("float16.onnx", "float32.onnx")]
    assert sizes[0] < 0.55 * sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_every_model_answers_as_torch_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vit, "BLOCKS", 1)  # the other eleven are the same
    model = create_classifier(replace(SIGNATURES[name], input_size=64)).eval()
    assert export.export_onnx(model, tmp_path / "m.onnx").difference <= 1e-4
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    expected = model.probs(torch.from_numpy(pixels)).detach().numpy()
    found = OnnxModel(tmp_path / "m.onnx").predict(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_file_carries_digests_of_what_was_trained_on_and_keeps_them(
    model: Classifier, tmp_path: Path
) -> None:
    own = np.random.default_rng(0).integers(0, 256, (50, 16), dtype=np.uint8)
    path, plain = tmp_path / "m.onnx", tmp_path / "plain.onnx"
    export.export_onnx(model, plain)
    export.export_onnx(model, path, digests=create_train_digests(own, ["p1"]))
    assert OnnxModel(plain).read_train_digests() is None
    replace_signature(path, replace(model.signature, age_margin=1.0))
    loaded = OnnxModel(path)  # and its checksum holds
    assert loaded.signature.age_margin == 1
    found = parse_train_digests(loaded.read_train_digests() or "", path)
    assert found is not None
    assert found.find_images(own).all()
    assert found.find_identities(["p1", "p2"]).tolist() == [True, False]
    pixels = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.predict(pixels), OnnxModel(plain).predict(pixels))
