from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.models.classifier import SIGNATURES, Architecture, create_classifier
from threeages.training.losses import (
    collect_targets,
    create_heads,
    find_known,
    head_losses,
    head_metrics,
    joint_loss,
)

WEIGHTS = {"years": 0.5, "gender": 0.25}
MANIFEST = Manifest(
    Path(),
    ("a", "b", "c", "d"),
    np.array([0, 1, 2, -1]),
    {"age": ("20", "", "104.6", "old"), "gender": ("M", "", "F", "M"), "film": ("x", "x", "x", "x")},
)


def test_targets_say_what_is_not_known() -> None:
    heads = create_heads("softmax", WEIGHTS, MANIFEST)
    assert [(h.name, h.kind, len(h.classes)) for h in heads] == [
        ("age_group", "softmax", 3), ("years", "years", 101), ("gender", "softmax", 2),
    ]  # fmt: skip
    targets = collect_targets(MANIFEST, heads)
    assert {name: values.tolist() for name, values in targets.items()} == {
        "age_group": [0, 1, 2, -1], "years": [20, -1, 100, -1], "gender": [1, -1, 0, 1],
    }  # fmt: skip


def test_a_row_counts_only_for_the_tasks_it_has_labels_for() -> None:
    heads = create_heads("softmax", WEIGHTS, MANIFEST)
    net = create_classifier(SIGNATURES["cnn"], Architecture(heads)).net
    torch.manual_seed(0)
    logits = {h.name: torch.randn(4, len(h.classes), requires_grad=True) for h in heads}
    targets = {k: torch.from_numpy(v) for k, v in collect_targets(MANIFEST, heads).items()}
    loss = joint_loss(head_losses(net.heads, logits, targets), WEIGHTS)
    loss.backward()
    touched = {name: (value.grad.abs().sum(1) > 0).tolist() for name, value in logits.items()}  # type: ignore[union-attr]
    assert touched == {name: (target >= 0).tolist() for name, target in targets.items()}
    parts = {
        name: net.heads[name].loss(logits[name][target >= 0], target[target >= 0])
        for name, target in targets.items()
    }
    expected = parts["age_group"] + 0.5 * parts["years"] + 0.25 * parts["gender"]
    torch.testing.assert_close(loss, expected)
    plain = {name: value.detach() for name, value in logits.items()}
    found = head_metrics(net.heads, plain, targets)
    assert set(found) == {"loss", "accuracy", "years_mae", "gender_accuracy"}
    assert found["accuracy"] == pytest.approx(
        float((plain["age_group"][:3].argmax(1) == torch.tensor([0, 1, 2])).float().mean())
    )
    years = torch.softmax(plain["years"], 1) @ torch.arange(101.0)
    assert found["years_mae"] == pytest.approx(
        float((abs(years[0] - 20) + abs(years[2] - 100)) / 2), rel=1e-4
    )


def test_a_batch_without_any_label_has_the_loss_zero() -> None:
    net = create_classifier(SIGNATURES["cnn"]).net
    loss = joint_loss(
        head_losses(net.heads, {"age_group": torch.randn(2, 3)}, {"age_group": torch.tensor([-1, -1])}), {}
    )
    assert float(loss) == 0


@pytest.mark.parametrize(("task", "message"), [("film", "nothing but x"), ("height", "no column height")])
def test_columns_that_cannot_be_learned_are_explained(task: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_heads("softmax", [task], MANIFEST)


RANGES = Manifest(
    Path(),
    tuple("abcde"),
    np.array([0, 1, 2, -1, -1]),
    {
        "age": ("20", "54", "", "", "30"),
        "age_low": ("", "50", "70", "", "31"),
        "age_high": ("", "56", "", "", "20"),
    },
)


def test_a_range_of_ages_is_a_target_of_two_years() -> None:
    heads = create_heads("softmax", ["years"], RANGES)
    years = collect_targets(RANGES, heads)["years"]
    assert years.tolist() == [[20, 20], [50, 56], [70, 100], [-1, -1], [30, 30]]
    assert find_known(torch.from_numpy(years)).tolist() == [True, True, True, False, True]


def test_a_manifest_without_ranges_has_the_targets_and_the_loss_of_before() -> None:
    head = create_classifier(
        SIGNATURES["cnn"], Architecture(create_heads("softmax", ["years"], RANGES))
    ).net.heads["years"]
    logits = torch.randn(3, 101, generator=torch.Generator().manual_seed(0))
    ages = torch.tensor([20, 54, 80])
    soft = torch.softmax(-0.5 * ((torch.arange(101) - ages[:, None]) / 2.5) ** 2, dim=1)
    assert torch.equal(head.loss(logits, ages), torch.nn.functional.cross_entropy(logits, soft))
    empty = Manifest(
        Path(), RANGES.paths, RANGES.labels, {**RANGES.columns, "age_low": ("",) * 5, "age_high": ("",) * 5}
    )
    assert collect_targets(empty, create_heads("softmax", ["years"], empty))["years"].ndim == 1


def test_the_loss_of_a_range_is_the_mass_outside_of_it() -> None:
    heads = create_heads("softmax", ["years"], RANGES)
    net = create_classifier(SIGNATURES["cnn"], Architecture(heads)).net
    targets = {k: torch.from_numpy(v) for k, v in collect_targets(RANGES, heads).items()}
    logits = {"age_group": torch.zeros(5, 3), "years": torch.full((5, 101), -50.0)}
    logits["years"][0, 20], logits["years"][1, 50], logits["years"][2, 100], logits["years"][4, 30] = (
        0,
        0,
        0,
        0,
    )
    loss = net.heads["years"].loss(logits["years"][1:3], targets["years"][1:3])
    assert float(loss) == pytest.approx(0, abs=1e-4)
    uniform = net.heads["years"].loss(torch.zeros(1, 101), torch.tensor([[50, 56]]))
    assert float(uniform) == pytest.approx(np.log(101 / 7), rel=1e-5)
    both = net.heads["years"].loss(torch.zeros(2, 101), torch.tensor([[50, 56], [20, 20]]))
    assert float(both) == pytest.approx((np.log(101 / 7) + np.log(101)) / 2, rel=1e-5)
    found = head_metrics(net.heads, logits, targets)
    assert found["years_mae"] == pytest.approx(0, abs=1e-3)  # of the rows whose age is one year


def test_ranges_have_gradients_that_are_finite_and_pull_into_them() -> None:
    heads = create_heads("softmax", ["years"], RANGES)
    net = create_classifier(SIGNATURES["cnn"], Architecture(heads)).net
    logits = torch.zeros(1, 101, requires_grad=True)
    net.heads["years"].loss(logits, torch.tensor([[50, 56]])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[0, 50:57] < 0).all()
    assert (logits.grad[0, :50] > 0).all()
