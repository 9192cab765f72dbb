import math

import pytest
import torch

from threeages.errors import ConfigError
from threeages.models.heads import KINDS, HeadSpec, create_head, years_spec
from threeages.models.kinds import AGE_GROUP_HEADS, HEAD_KINDS

WITH_PROBS = (*AGE_GROUP_HEADS, "years")


def _inputs(n: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(n) % 3
    noise = torch.randn(n, 4, generator=generator)
    return noise + torch.stack([target.float(), -target.float(), target == 1, target * 0], 1), target


@pytest.mark.parametrize("kind", WITH_PROBS)
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_probabilities_add_up(kind: str, temperature: float) -> None:
    torch.manual_seed(1)
    head = create_head(HeadSpec(kind=kind), 4)
    probs = head.probs(head(5 * torch.randn(20, 4)), temperature)
    assert probs.shape == (20, 3)
    assert (probs >= 0).all()
    torch.testing.assert_close(probs.sum(1), torch.ones(20))


@pytest.mark.parametrize("kind", AGE_GROUP_HEADS)
def test_it_learns_what_can_be_learned(kind: str) -> None:
    torch.manual_seed(0)
    x, target = _inputs()
    head = create_head(HeadSpec(kind=kind), 4)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(head(x), target).backward()
        optimizer.step()
    name, value = head.metric(head(x), target)
    assert name == "accuracy"
    assert value > 0.6  # one in three by chance


def test_years_are_a_distribution_whose_mean_is_the_age() -> None:
    head = create_head(years_spec(), 4)
    logits = torch.full((1, 101), -20.0)
    logits[0, 29] = logits[0, 31] = 0
    assert head.metric(logits, torch.tensor([33])) == ("mae", pytest.approx(3.0, abs=1e-3))
    losses = [float(head.loss(logits, torch.tensor([age]))) for age in (30, 40, 60)]
    assert losses == sorted(losses)


def test_soft_ordinal_forgives_a_neighbour() -> None:
    head = create_head(HeadSpec(kind="soft_ordinal"), 4)
    sure_of_old = torch.tensor([[0.0, 0.0, 5.0]])
    far, near = (float(head.loss(sure_of_old, torch.tensor([label]))) for label in (0, 1))
    assert near < far


def test_corn_trains_the_second_logit_only_on_those_above_the_first_class() -> None:
    head = create_head(HeadSpec(kind="corn"), 4)
    logits = torch.tensor([[0.0, 9.0], [0.0, 0.0]])
    # row 0 is YOUNG: its second logit, however wrong, has no part in the loss
    assert float(head.loss(logits, torch.tensor([0, 2]))) == pytest.approx(math.log(2))


def test_coral_ranks_never_cross() -> None:
    head = create_head(HeadSpec(kind="coral"), 4)
    with torch.no_grad():
        head.steps.fill_(-50.0)  # type: ignore[union-attr]
    logits = head(torch.randn(10, 4))
    assert (logits[:, 0] >= logits[:, 1]).all()


def test_coral_thresholds_settle_within_an_epoch() -> None:
    head = create_head(HeadSpec(kind="coral"), 1)
    target = torch.tensor([0] * 7 + [1] * 9 + [2] * 4)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(head(torch.zeros(20, 1)), target).backward()
        optimizer.step()
    found = head.probs(head(torch.zeros(1, 1)))[0]
    torch.testing.assert_close(found, torch.tensor([0.35, 0.45, 0.2]), atol=0.02, rtol=0)


def test_every_kind_that_is_listed_can_be_created() -> None:
    assert tuple(KINDS) == HEAD_KINDS


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="coral"):
        create_head(HeadSpec(kind="none"), 4)
