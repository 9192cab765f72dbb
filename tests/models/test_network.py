from dataclasses import replace

import numpy as np
import pytest
import torch

from threeages.models.classifier import SIGNATURES, Architecture, Classifier, create_classifier
from threeages.models.heads import HeadSpec, years_spec
from threeages.models.registry import MODELS, create_signature

# with one head; Keras counts batch norm's moving statistics too
PARAMETERS = {
    "cnn": 2_602_179,
    "attention_cnn": 467_329,
    "resnet50": 23_508_032 + 3 * 2048 + 3,
    "mobilenet_v2": 2_223_872 + 3 * 1280 + 3,
}


def _create(name: str, size: int = 64, heads: tuple[HeadSpec, ...] = (HeadSpec(),)) -> Classifier:
    return create_classifier(replace(SIGNATURES[name], input_size=size), Architecture(heads)).eval()


def _pixels(n: int, size: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_are_those_of_the_study(name: str, count: int) -> None:
    assert sum(p.numel() for p in create_classifier(SIGNATURES[name]).parameters()) == count


@pytest.mark.parametrize("name", list(MODELS))
def test_a_pass_from_any_stage_gives_the_same_answer(name: str) -> None:
    model = _create(name)
    with torch.inference_mode():
        whole = model(_pixels(2, 64))["age_group"]
        x = model.normalize(_pixels(2, 64))
        for i, stage in enumerate(model.net.stages, start=1):
            x = stage(x)
            if i % 7 == 0 or i == len(model.net.stages):
                torch.testing.assert_close(model(x, i)["age_group"], whole, rtol=1e-3, atol=1e-4)


def test_further_heads_answer_from_the_same_pass() -> None:
    model = _create(
        "cnn", heads=(HeadSpec(kind="corn"), years_spec(), HeadSpec("gender", classes=("F", "M")))
    )
    found = model.answers(_pixels(3, 64))
    assert {name: tuple(v.shape) for name, v in found.items()} == {"probs": (3, 3), "years": (3, 101)}
    torch.testing.assert_close(model.years(_pixels(3, 64)).sum(1), torch.ones(3))
    assert model(_pixels(3, 64))["gender"].shape == (3, 2)
    with pytest.raises(KeyError):
        _create("cnn").years(_pixels(1, 64))


def test_frozen_statistics_never_move() -> None:
    model = _create("mobilenet_v2")
    model.net.freeze(18)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    model(_pixels(4, 64))["age_group"].sum().backward()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("net.features.18.") for k in moved)
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None} == {
        "features",
        "head",
    }


def test_double_scaling_leaves_the_backbone_next_to_nothing() -> None:
    right, wrong = (
        create_classifier(create_signature("mobilenet_v2", 64, double_scaling=double)).normalize(
            _pixels(2, 64)
        )
        for double in (False, True)
    )
    assert float(right.std()) > 1
    assert float(wrong.std(dim=(2, 3)).max()) < 0.01
