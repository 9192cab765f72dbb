"""MobileNet-v1 pretrained on faces, batch norm folded into its convolutions."""

from collections.abc import Sequence

from torch import nn

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, global_pool

# output channels and stride of the 13 depthwise-separable blocks (Howard et al. 2017, table 1)
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
NUM_FEATURES = 1024


class MobileNetV1(Network):
    """float `(n, 3, 224, 224)` BGR minus mean to 1024 features and logits."""

    def __init__(self, heads: Sequence[HeadSpec] = DEFAULT_HEADS) -> None:
        layers = _conv(3, 32, stride=2)
        channels = 32
        for width, stride in BLOCKS:
            layers += _conv(channels, channels, stride=stride, depthwise=True)
            layers += _conv(channels, width, kernel=1)
            channels = width
        super().__init__(Backbone(nn.Sequential(*layers), global_pool(), NUM_FEATURES, nn.Identity()), heads)


def _conv(
    inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3, depthwise: bool = False
) -> list[nn.Module]:
    # stride 2 pads right and bottom only, as the TensorFlow original does
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, groups=groups),
        nn.ReLU6(inplace=True),
    ]
    return layers if kernel == 1 else [nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1), *layers]
