from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from threeages.data.split import Split
from threeages.errors import ModelError
from threeages.models.classifier import SIGNATURES, Classifier, create_classifier
from threeages.training import probe

N = 300


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return create_classifier(SIGNATURES["mobilenet_v1_face"])


def _data() -> tuple[np.ndarray, np.ndarray, Split]:
    """Features of three classes, of unlike scale, so that leaving out the scaler would show."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, N)
    features = rng.normal(size=(N, 1024)) + 3
    features[:, :300] += 2 * (np.arange(300) % 3 == labels[:, None])
    features[:, :3] *= 20
    rows = np.arange(N)
    return features.astype(np.float16), labels, Split(rows[:200], rows[200:250], rows[250:], 0)


def test_the_head_tells_unseen_rows_apart(model: Classifier) -> None:
    features, labels, split = _data()
    model, chosen = probe.fit_head(model, features, labels, split, 0.0, 0.0)
    probs = probe.head_probs(model, features[split.test])
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == labels[split.test]).mean() > 0.8
    assert chosen["l2"] in probe.PENALTIES
    assert model.signature.temperature == chosen["temperature"]


def test_penalty_and_temperature_can_be_given(model: Classifier) -> None:
    features, labels, split = _data()
    nobody = Split(np.arange(N), split.select[:0], split.test[:0], 0)
    assert probe.fit_head(model, features, labels, nobody, 1e-3, 1.2)[1] == {"l2": 1e-3, "temperature": 1.2}


def test_features_are_computed_once_and_keyed_by_weights(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    first = probe.compute_features(model, pixels, b"key", tmp_path)
    assert first.shape == (2, 1024)
    monkeypatch.setattr(probe, "trace", None)  # computing again would fail
    assert (probe.compute_features(model, pixels, b"key", tmp_path) == first).all()
    with pytest.raises(TypeError):
        probe.compute_features(model, pixels, b"other", tmp_path)
    with torch.no_grad():
        next(model.net.features.parameters()).add_(1)
    with pytest.raises(TypeError):
        probe.compute_features(model, pixels, b"key", tmp_path)


def test_foreign_weights_are_refused(model: Classifier, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("text", "other", "none"):
        with pytest.raises(ModelError):
            probe.load_backbone(model, tmp_path / f"{name}.safetensors")
