"""The channel attention CNN of the reference study."""

from collections.abc import Sequence

from torch import Tensor, nn

from threeages.errors import ConfigError, format_count
from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, global_pool, init_as_keras

FILTERS = (32, 64, 128, 256)
DROPOUTS = (0.2, 0.3, 0.3, 0.4)
RATIO = 16
DENSE = 256


def attention_cnn(
    heads: Sequence[HeadSpec] = DEFAULT_HEADS, *, dropouts: Sequence[float] = DROPOUTS
) -> Network:
    """float `(n, 3, size, size)` in [0, 1] to logits.

    Four blocks of convolution (same padding), ReLU, batch norm, max-pool, spatial dropout (`dropouts`, one a
    block) and channel attention (Woo et al. 2018), then global average pooling, dense 256 and dropout 0.5.
    Raises ConfigError on another number of dropouts.
    """
    if len(dropouts) != len(FILTERS):
        raise ConfigError(
            f"attention_cnn was given {format_count(dropouts, 'dropout')}.",
            hint=f"Give {len(FILTERS)}, one a block.",
        )
    channels = 3
    blocks: list[nn.Module] = []
    for width, dropout in zip(FILTERS, dropouts, strict=True):
        block = (
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.01),  # as in Keras
            nn.MaxPool2d(2),
            nn.Dropout2d(dropout),
            ChannelAttention(width),
        )
        blocks.append(nn.Sequential(*block))
        channels = width
    neck = nn.Sequential(nn.Linear(channels, DENSE), nn.ReLU(inplace=True), nn.Dropout(0.5))
    network = Network(Backbone(nn.Sequential(*blocks), global_pool(), DENSE, neck), heads)
    init_as_keras(network)
    return network


class ChannelAttention(nn.Module):
    """A gate for each channel from its mean and its maximum (CBAM; Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // RATIO, 1)
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same shape."""
        weight = self.gate(x.mean((2, 3))) + self.gate(x.amax((2, 3)))
        out: Tensor = x * weight.sigmoid()[:, :, None, None]
        return out
