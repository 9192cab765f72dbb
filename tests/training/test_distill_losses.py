import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from threeages.training.distill_losses import FeatureLoss, ProjectionLoss, TokenLoss

N, GRID, WIDTH, CHANNELS = 6, 4, 3, 5
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
MIRRORED = torch.tensor([[-1.0, 0, 0], [0, 1, 0]])
CROPS, WHOLES = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, 1 + GRID**2, WIDTH)).astype(np.float16)


def _maps(rows: np.ndarray, seed: int = 1) -> Tensor:
    return torch.randn((len(rows), CHANNELS, GRID, GRID), generator=torch.Generator().manual_seed(seed))


def test_features_cost_nothing_where_they_are_the_teachers() -> None:
    features = np.random.default_rng(0).normal(size=(N, CHANNELS)) * (1, 10, 100, 0.1, 0)
    loss = FeatureLoss(features, np.arange(N))
    teacher = torch.from_numpy(features[[4, 1]]).float()
    assert loss(teacher, teacher).item() == 0
    assert loss(teacher.flip(0), teacher).item() > 0.1


def test_every_feature_counts_alike_whatever_its_range() -> None:
    features = np.random.default_rng(0).normal(size=(N, 2)) * (1, 100)
    loss = FeatureLoss(features, np.arange(N))
    teacher = torch.from_numpy(features).float()
    off = [loss(teacher + torch.tensor(shift), teacher).item() for shift in ([0.1, 0.0], [0.0, 10.0])]
    assert off[0] == pytest.approx(off[1], rel=0.5)


def test_rows_that_are_not_trained_on_set_no_scale(tokens: np.ndarray) -> None:
    features = np.random.default_rng(0).normal(size=(N, CHANNELS))
    rows = np.arange(3)
    before = FeatureLoss(features, rows).std, TokenLoss(CHANNELS, tokens, rows).std
    features[3:], tokens[3:] = 100, 100
    after = FeatureLoss(features, rows).std, TokenLoss(CHANNELS, tokens, rows).std
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_to_predict_the_mean_costs_one() -> None:
    features = np.random.default_rng(0).normal(3, 7, (200, 4)).astype(np.float16)
    loss = ProjectionLoss(CHANNELS, features)
    torch.nn.init.zeros_(loss.projection.weight)
    torch.nn.init.zeros_(loss.projection.bias)
    student, teacher = torch.randn(200, CHANNELS), torch.from_numpy(features).float()
    assert loss(student, teacher).item() == pytest.approx(1, abs=0.01)
    assert loss.compare((teacher - loss.mean) / loss.std, teacher).item() == 0


def test_features_are_predicted_as_far_as_they_can_be() -> None:
    torch.manual_seed(0)
    student = torch.randn(400, 4)
    teacher = torch.cat([student[:, :2], torch.randn(400, 2)], 1)  # half can be predicted
    loss = ProjectionLoss(4, teacher.numpy())
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(student, teacher).backward()
        optimizer.step()
    assert loss(student, teacher).item() == pytest.approx(0.5, abs=0.06)


def _exact(loss: TokenLoss, tokens: np.ndarray, rows: np.ndarray) -> Tensor:
    """Maps on which the layer for patches, made the identity, is right; the layer for the whole is not."""
    with torch.no_grad():
        loss.on_patches.weight.copy_(torch.eye(WIDTH, CHANNELS)[:, :, None, None])
        loss.on_patches.bias.zero_()
    patches = (torch.from_numpy(tokens[rows, 1:]).float() - loss.mean) / loss.std
    maps = patches.transpose(1, 2).reshape(len(rows), WIDTH, GRID, GRID)
    return F.pad(maps, (0, 0, 0, 0, 0, CHANNELS - WIDTH))


@pytest.mark.parametrize("mirrored", [False, True])
def test_right_maps_cost_only_the_whole_and_wrong_ones_more(tokens: np.ndarray, mirrored: bool) -> None:
    loss = TokenLoss(CHANNELS, tokens, np.arange(N))
    rows = np.array([0, 3])
    maps = _exact(loss, tokens, rows)
    maps = maps.flip(3) if mirrored else maps
    right, wrong = (MIRRORED, STILL) if mirrored else (STILL, MIRRORED)
    teacher = torch.from_numpy(tokens[rows]).float()
    whole = loss(maps, teacher, WHOLES, STILL.expand(2, 2, 3)).item()
    assert loss(maps, teacher, CROPS, right.expand(2, 2, 3)).item() == pytest.approx(whole, abs=1e-5)
    assert loss(maps, teacher, CROPS, wrong.expand(2, 2, 3)).item() > whole + 0.5


def test_of_a_whole_image_no_patch_is_compared(tokens: np.ndarray) -> None:
    loss = TokenLoss(CHANNELS, tokens, np.arange(N))
    rows = np.array([2, 5])
    maps = _maps(rows).requires_grad_()
    is_crop = torch.tensor([False, True])
    loss(maps, torch.from_numpy(tokens[rows]).float(), is_crop, STILL.expand(2, 2, 3)).backward()
    assert loss.on_patches.weight.grad is not None
    assert maps.grad is not None
    assert maps.grad[0].std(dim=(1, 2)).max() < 1e-7  # the pooled tokens alone: alike in all positions
    assert maps.grad[1].std(dim=(1, 2)).min() > 1e-4


def test_tokens_can_be_learned(tokens: np.ndarray) -> None:
    loss = TokenLoss(CHANNELS, tokens, np.arange(N))
    maps, transforms = _maps(np.arange(N)), STILL.expand(N, 2, 3)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        value = loss(maps, torch.from_numpy(tokens).float(), torch.ones(N, dtype=torch.bool), transforms)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.7 * losses[0]
