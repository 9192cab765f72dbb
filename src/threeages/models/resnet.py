"""ResNet50 as in the paper and in Keras, whose weights the reference study used (He et al., 2015)."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, global_pool

LAYERS = ((64, 3), (128, 4), (256, 6), (512, 3))  # width and blocks; each block puts out four times its width
EXPANSION = 4
NUM_FEATURES = 2048
DROPOUT = 0.2


def resnet50(heads: Sequence[HeadSpec] = DEFAULT_HEADS) -> Network:
    """Normalised float `(n, 3, size, size)` to logits: the stem and 16 blocks as stages, then the pooling.

    The first 1x1 convolution of a layer halves the map (v1); torchvision's own weights, which want that in
    the 3x3 convolution (v1.5), do not fit.
    """
    blocks: list[nn.Module] = [_stem()]
    channels = 64
    for i, (width, repeats) in enumerate(LAYERS):
        for j in range(repeats):
            stride = 2 if i and not j else 1
            blocks.append(_Bottleneck(channels, width, stride))
            channels = width * EXPANSION
    backbone = Backbone(nn.Sequential(*blocks), global_pool(), NUM_FEATURES, nn.Dropout(DROPOUT))
    return Network(backbone, heads)


def from_torchvision(name: str) -> str:
    """Key of this network's features for a key of torchvision's resnet50: 'layer2.0.bn1.bias' and so on."""
    if not name.startswith("layer"):
        return f"0.{name}"
    layer, block, rest = name.split(".", 2)
    before = sum(repeats for _, repeats in LAYERS[: int(layer.removeprefix("layer")) - 1])
    return f"{1 + before + int(block)}.{rest}"


def _stem() -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )
    return nn.Sequential(parts)


class _Bottleneck(nn.Module):
    """`(n, inputs, h, w)` to `(n, 4 * width, h / stride, w / stride)`, with a shortcut around it."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(out + shortcut)
        return result
