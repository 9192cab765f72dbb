import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("captum", reason="captum is not installed (extra 'explain')")

from threeages.errors import MissingDependencyError, ModelError
from threeages.models import vit
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.grad_cam import GradCam, predict_probs
from threeages.models.heads import MAIN, HeadSpec
from threeages.models.registry import create_signature

SIZE = 64


def _create(name: str, head: str = "softmax") -> Classifier:
    torch.manual_seed(0)
    model = create_classifier(create_signature(name, SIZE), Architecture((HeadSpec(kind=head),)))
    for weights in model.net.head.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    return model.eval()


def _draw() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def _expect(model: Classifier, pixels: NDArray[np.uint8], group: int, depth: int) -> NDArray[np.float64]:
    """Grad-CAM by its formula: the maps, weighed by the mean gradients of their channels."""
    x = model.normalize(torch.from_numpy(pixels[None]))
    for stage in model.net.stages[:depth]:
        x = stage(x)
    x = x.detach().requires_grad_()
    probs = model.net.head.probs(model.net(x * 1, depth)[MAIN].double(), 1.0)[0]
    (slope,) = torch.autograd.grad(torch.log(probs[group]) - torch.log(1 - probs[group]), x)
    if x.dim() == 3:
        side = round((x.shape[1] - 1) ** 0.5)
        x, slope = (v[:, 1:].transpose(1, 2).unflatten(2, (side, side)) for v in (x, slope))
    found = (slope.mean(dim=(2, 3), keepdim=True) * x).sum(dim=1).clamp(min=0)
    return found[0].detach().numpy().astype(np.float64)


@pytest.mark.parametrize("head", ["softmax", "coral"])
@pytest.mark.parametrize("name", ["mobilenet_v1_face", "cnn"])
def test_the_map_is_that_of_the_formula(name: str, head: str) -> None:
    model = _create(name, head)
    depth = len(model.net.stages) - 1
    cam = GradCam(model)
    maps = [cam.compute(_draw(), group) for group in range(3)]
    for group, found in enumerate(maps):
        assert found.ndim == 2
        np.testing.assert_allclose(found, _expect(model, _draw(), group, depth), rtol=1e-3, atol=1e-6)
    assert max(found.max() for found in maps) > 0


def test_patches_of_a_transformer_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIDTH": 16, "HEADS": 2, "BLOCKS": 2, "NUM_FEATURES": 32}.items():
        monkeypatch.setattr(vit, name, value)
    model = _create("clip_vit_b16")
    for weights in model.net.features.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    maps = [GradCam(model).compute(_draw(), group) for group in range(3)]
    assert [found.shape for found in maps] == [(4, 4)] * 3
    for group, found in enumerate(maps):
        np.testing.assert_allclose(found, _expect(model, _draw(), group, 3), rtol=1e-3, atol=1e-6)


def test_frozen_weights_are_no_hindrance_and_stay() -> None:
    model = _create("mobilenet_v1_face")
    expected = GradCam(model).compute(_draw(), 1)
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    np.testing.assert_allclose(GradCam(model).compute(_draw(), 1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_without_places_is_refused() -> None:
    model = _create("cnn")
    model.net._stage_sizes = (len(model.net.features),)  # all blocks and the flattening: no map is left
    model.net.features.append(torch.nn.Flatten())
    model.net._stage_sizes = (len(model.net.features),)
    with pytest.raises(ModelError, match="none of its stages") as caught:
        GradCam(model)
    assert "--method occlusion" in caught.value.hint


def test_the_extra_is_named_where_captum_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingDependencyError, match="captum") as caught:
        GradCam(_create("cnn"))
    assert "threeages[explain]" in caught.value.hint


def test_probabilities_are_those_of_the_model() -> None:
    model = _create("cnn")
    found = predict_probs(model, _draw()[None])
    assert found.shape == (1, 3)
    assert found.sum() == pytest.approx(1, abs=1e-5)
