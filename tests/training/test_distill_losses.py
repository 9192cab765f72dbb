import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from threeages.training.distill_losses import FeatureLesson, TokenLesson

N, GRID, WIDTH, CHANNELS = 6, 4, 3, 5
STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
MIRRORED = torch.tensor([[-1.0, 0, 0], [0, 1, 0]])


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, 1 + GRID**2, WIDTH)).astype(np.float16)


def _maps(rows: np.ndarray, seed: int = 1) -> Tensor:
    return torch.randn((len(rows), CHANNELS, GRID, GRID), generator=torch.Generator().manual_seed(seed))


def test_features_cost_nothing_where_they_are_the_teachers() -> None:
    features = np.random.default_rng(0).normal(size=(N, CHANNELS)) * (1, 10, 100, 0.1, 0)
    lesson = FeatureLesson(features, np.arange(N))
    rows = np.array([4, 1])
    maps = torch.from_numpy(features[rows]).float()[:, :, None, None].expand(-1, -1, 2, 2)
    moves = STILL.expand(2, 2, 3)
    wanted = torch.from_numpy(features[rows]).float()
    assert lesson(maps, wanted, moves).item() == pytest.approx(0, abs=1e-6)
    assert lesson(maps, wanted.flip(0), moves).item() > 0.1


def test_rows_that_are_not_learnt_from_set_no_scale(tokens: np.ndarray) -> None:
    features = np.random.default_rng(0).normal(size=(N, CHANNELS))
    rows = np.arange(3)
    before = FeatureLesson(features, rows).spread, TokenLesson(tokens, rows, CHANNELS).std
    features[3:], tokens[3:] = 100, 100
    after = FeatureLesson(features, rows).spread, TokenLesson(tokens, rows, CHANNELS).std
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def _exact(lesson: TokenLesson, tokens: np.ndarray, rows: np.ndarray) -> Tensor:
    """Maps on which the layer for patches, made the identity, is right; the layer for the whole is not."""
    with torch.no_grad():
        lesson.on_patches.weight.copy_(torch.eye(WIDTH, CHANNELS)[:, :, None, None])
        lesson.on_patches.bias.zero_()
    patches = (torch.from_numpy(tokens[rows, 1:]).float() - lesson.mean) / lesson.std
    places = patches.transpose(1, 2).reshape(len(rows), WIDTH, GRID, GRID)
    return F.pad(places, (0, 0, 0, 0, 0, CHANNELS - WIDTH))


def _whole_loss(lesson: TokenLesson, maps: Tensor, wanted: Tensor) -> float:
    return float(lesson(maps, wanted, torch.full((len(wanted), 2, 3), torch.nan)).item())


@pytest.mark.parametrize("mirrored", [False, True])
def test_patches_are_learnt_where_the_view_shows_them(tokens: np.ndarray, mirrored: bool) -> None:
    lesson = TokenLesson(tokens, np.arange(N), CHANNELS)
    rows = np.array([0, 3])
    maps = _exact(lesson, tokens, rows)
    maps = maps.flip(3) if mirrored else maps
    right, wrong = (MIRRORED, STILL) if mirrored else (STILL, MIRRORED)
    wanted = torch.from_numpy(tokens[rows]).float()
    whole = _whole_loss(lesson, maps, wanted)
    assert lesson(maps, wanted, right.expand(2, 2, 3)).item() == pytest.approx(whole, abs=1e-5)
    assert lesson(maps, wanted, wrong.expand(2, 2, 3)).item() > whole + 0.5


def test_of_a_whole_image_no_patch_is_learnt(tokens: np.ndarray) -> None:
    lesson = TokenLesson(tokens, np.arange(N), CHANNELS)
    rows = np.array([2, 5])
    moves = torch.stack([torch.full((2, 3), torch.nan), STILL])
    maps = _maps(rows).requires_grad_()
    lesson(maps, torch.from_numpy(tokens[rows]).float(), moves).backward()
    assert lesson.on_patches.weight.grad is not None
    assert maps.grad is not None
    assert maps.grad[0].std(dim=(1, 2)).max() < 1e-7  # the whole alone: alike in all places
    assert maps.grad[1].std(dim=(1, 2)).min() > 1e-4


def test_a_student_learns_tokens(tokens: np.ndarray) -> None:
    lesson = TokenLesson(tokens, np.arange(N), CHANNELS)
    rows = np.arange(N)
    maps, moves = _maps(rows), STILL.expand(N, 2, 3)
    optimizer = torch.optim.Adam(lesson.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = lesson(maps, torch.from_numpy(tokens).float(), moves)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
