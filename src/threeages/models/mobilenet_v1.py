"""MobileNet-v1 pretrained on faces, batch norm folded into its convolutions."""

from torch import nn

# output channels and stride of the 13 depthwise-separable blocks (Howard et al. 2017, table 1)
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """float `(n, 3, 224, 224)` BGR minus mean to features `(n, 1024)` (`num_classes=0`) or logits."""

    num_features = 1024

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = _conv(3, 32, stride=2)
        channels = 32
        for width, stride in BLOCKS:
            layers += _conv(channels, channels, stride=stride, depthwise=True)
            layers += _conv(channels, width, kernel=1)
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x):  # type: ignore[no-untyped-def]
        """Backbone, global average pooling, head."""
        return self.head(self.pool(self.features(x)))


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
