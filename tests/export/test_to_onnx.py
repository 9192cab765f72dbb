from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.errors import ModelError
from threeages.export import to_onnx as export
from threeages.inference.runtime import OnnxModel
from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier
from threeages.models.heads import DEFAULT_HEADS, years_spec


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


def test_years_are_answered_by_a_model_that_has_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    heads = Architecture((*DEFAULT_HEADS, years_spec()))
    both = create_classifier(replace(SIGNATURES["cnn"], input_size=64), heads).eval()
    export.export_onnx(both, tmp_path / "m.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    probs, years = OnnxModel(tmp_path / "m.onnx").predict_all(pixels)
    assert probs.shape == (3, 3)
    np.testing.assert_allclose(years, both.years(torch.from_numpy(pixels)).detach().numpy(), atol=1e-5)


def test_a_file_that_differs_from_torch_is_not_written(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="differs from torch"):
        export.export_onnx(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_halves_are_stored_as_halves(model: Classifier, tmp_path: Path) -> None:
    export.export_onnx(model, tmp_path / "float.onnx")
    halved = create_classifier(model.signature).eval()
    halved.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    export.export_onnx(halved, tmp_path / "half.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in ("half.onnx", "float.onnx")]
    assert sizes[0] < 0.55 * sizes[1]
