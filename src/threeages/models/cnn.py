"""The four-block CNN of the reference study, and its recurrent variant."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from threeages.errors import ConfigError, format_count
from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, init_as_keras

FILTERS = (32, 64, 128, 128)
KERNELS = (3, 3, 3, 3)
DENSE = 512


def cnn(
    heads: Sequence[HeadSpec] = DEFAULT_HEADS,
    *,
    input_size: int = 128,
    filters: Sequence[int] = FILTERS,
    kernels: Sequence[int] = KERNELS,
    dense: int = DENSE,
) -> Network:
    """float `(n, 3, size, size)` in [0, 1] to logits; 2,602,179 parameters at 128 px with one head.

    Convolutions without padding, ReLU and 2x2 max-pool, dense 512. Weights start as in Keras (Glorot
    uniform, zero biases), which the reference study used. Raises ConfigError where `filters` and `kernels`
    do not go together, or leave nothing of an image of `input_size`.
    """
    if len(filters) != len(kernels):
        raise ConfigError(
            f"cnn was given {format_count(filters, 'filter')} and {format_count(kernels, 'kernel')}.",
            hint="Give one of each a block.",
        )
    features, side = _blocks(input_size, filters, kernels)
    if side < 1:
        raise ConfigError(
            f"Images of {input_size} px are too small for the kernels {tuple(kernels)}.",
            hint=f"Give an input size of at least {_least_size(kernels)}, or fewer or smaller kernels.",
        )
    neck = nn.Sequential(nn.Linear(filters[-1] * side * side, dense), nn.ReLU(inplace=True))
    network = Network(Backbone(features, nn.Flatten(), dense, neck), heads)
    init_as_keras(network)
    return network


def cnn_lstm(heads: Sequence[HeadSpec] = DEFAULT_HEADS, *, hidden: int = 64) -> Network:
    """float `(n, 3, size, size)` in [0, 1] to logits: the four blocks, then a bidirectional LSTM.

    The LSTM reads the last map position by position, row by row, and self-attention relates the positions.
    A face is no sequence; the reference study has this variant, and it is kept for comparison.
    """
    features, _ = _blocks(0, FILTERS, KERNELS)
    neck = _Recurrent(FILTERS[-1], hidden)
    network = Network(Backbone(features, nn.Flatten(start_dim=2), 2 * hidden, neck), heads)
    init_as_keras(network.features)
    return network


def _blocks(size: int, filters: Sequence[int], kernels: Sequence[int]) -> tuple[nn.Sequential, int]:
    """One stage a block, and the side of the last map of an image of `size` px.

    Pooling stands before the ReLU: the two commute, and the ReLU then touches a quarter of the values.
    """
    blocks: list[nn.Module] = []
    channels = 3
    for width, kernel in zip(filters, kernels, strict=True):
        block = (nn.Conv2d(channels, width, kernel), nn.MaxPool2d(2), nn.ReLU(inplace=True))
        blocks.append(nn.Sequential(*block))
        channels, size = width, (size - kernel + 1) // 2
    return nn.Sequential(*blocks), size


def _least_size(kernels: Sequence[int]) -> int:
    """The smallest input side of which the blocks leave one place."""
    side = 1
    for kernel in reversed(kernels):
        side = 2 * side + kernel - 1
    return side


class _Recurrent(nn.Module):
    """Bidirectional LSTM and self-attention over the positions of a map, averaged."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True)
        self.attention = nn.MultiheadAttention(2 * hidden, num_heads=4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, positions)` to `(n, 2 * hidden)`."""
        steps, _ = self.lstm(x.transpose(1, 2))
        seen, _ = self.attention(steps, steps, steps, need_weights=False)
        return torch.mean(steps + seen, dim=1)
