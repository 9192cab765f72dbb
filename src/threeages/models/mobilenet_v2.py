"""MobileNetV2 under torchvision's key names (Sandler et al., 2018)."""

from collections.abc import Sequence

from torch import Tensor, nn

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, global_pool

# expansion, output channels, repeats, stride of the first (table 2 of the paper)
BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
NUM_FEATURES = 1280
DROPOUT = 0.2


def mobilenet_v2(heads: Sequence[HeadSpec] = DEFAULT_HEADS) -> Network:
    """Normalised float `(n, 3, size, size)` to logits: 19 stages, the pooling, dropout."""
    features: list[nn.Module] = [_conv(3, 32, 3, stride=2)]
    channels = 32
    for expansion, width, repeats, stride in BLOCKS:
        for i in range(repeats):
            features.append(_InvertedResidual(channels, width, expansion, stride if i == 0 else 1))
            channels = width
    features.append(_conv(channels, NUM_FEATURES, 1))
    backbone = Backbone(nn.Sequential(*features), global_pool(), NUM_FEATURES, nn.Dropout(DROPOUT))
    return Network(backbone, heads)


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([_conv(inputs, hidden, 1)] if expansion > 1 else []),
            _conv(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.adds else out


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )
