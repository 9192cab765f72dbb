from pathlib import Path

import numpy as np
import pytest
import torch

from threeages.data.manifest import Manifest
from threeages.errors import ConfigError
from threeages.models.classifier import SIGNATURES, Architecture, create_classifier
from threeages.training.losses import collect_targets, create_heads, head_losses, head_metrics, joint_loss

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


@pytest.mark.parametrize(("task", "message"), [("film", "1 distinct"), ("height", "no column height")])
def test_columns_that_cannot_be_learned_are_explained(task: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_heads("softmax", [task], MANIFEST)
