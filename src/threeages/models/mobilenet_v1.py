"""MobileNet-v1 (Howard et al. 2017) pretrained on faces, batch norm folded into its convolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, global_pool, small_neck

# output channels and stride of the 13 depthwise-separable blocks (Howard et al. 2017, table 1)
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
STEM_LAYERS = 3  # padding, convolution, ReLU6
BLOCK_LAYERS = 5  # padding, depthwise convolution, ReLU6, pointwise convolution, ReLU6
LAST_BLOCK_START = STEM_LAYERS + BLOCK_LAYERS * (len(BLOCKS) - 1)  # the layer it starts with
PUBLISHED_MEAN = (103.939, 116.779, 123.68)  # blue, green, red
GREY = 114.0
NUM_FEATURES = 2048  # of the last two blocks: a linear probe on both is better than on the last alone


def mobilenet_v1_face(
    heads: Sequence[HeadSpec] = DEFAULT_HEADS, *, hidden: int = 0, dropout: float = 0.0
) -> Network:
    """float `(n, 3, size, size)` RGB minus a grey of 114 to 2048 features and logits.

    Stages are the stem, the 13 blocks and the pooling. In `features` the layers are numbered through, as in
    the published weights, but the last block is one module: it passes its input on beside its output.
    `hidden` and `dropout`: see small_neck.
    """
    layers = mobilenet_layers()
    features = nn.Sequential(*layers[:LAST_BLOCK_START], ConcatInput(*layers[LAST_BLOCK_START:]))
    sizes = (STEM_LAYERS, *(BLOCK_LAYERS,) * (len(BLOCKS) - 1), 1)
    neck = small_neck(NUM_FEATURES, hidden, dropout)
    return Network(Backbone(features, global_pool(), hidden or NUM_FEATURES, neck, sizes), heads)


class ConcatInput(nn.Sequential):
    """Its modules in order, with the input passed on beside the output."""

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c + o, h, w)`: the input, then the output, along the channels."""
        y = x
        for layer in self:
            y = layer(y)
        return torch.cat([x, y], dim=1)


class _StridedDepthwise(nn.Conv2d):
    """On a processor always in float32: in bfloat16 its backward pass is several times as slow (oneDNN)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def mobilenet_layers() -> list[nn.Module]:
    """The 68 layers before the pooling, with fresh weights."""
    layers = _conv(3, 32, stride=2)
    channels = 32
    for width, stride in BLOCKS:
        layers += _conv(channels, channels, stride=stride, depthwise=True)
        layers += _conv(channels, width, kernel=1)
        channels = width
    return layers


def rename_published(key: str) -> str:
    """A key of the published weights, whose 68 layers are numbered through, as a key of `features`."""
    index, _, rest = key.removeprefix("features.").partition(".")
    if index.isdigit() and int(index) >= LAST_BLOCK_START:
        return f"{LAST_BLOCK_START}.{int(index) - LAST_BLOCK_START}.{rest}"
    return f"{index}.{rest}"


def fold_preprocessing(weights: dict[str, Tensor], first: str = "1") -> dict[str, Tensor]:
    """The published weights, which take BGR minus three means, for RGB minus one grey.

    A zero point of 114 in all channels is what bytes have, so that the int8 form takes pixels as they are.
    `first` names the first convolution. The results are the same except where the image's edge is padded:
    there they differ by what the means differ from the grey.
    """
    kernels = weights[f"{first}.weight"]
    shift = GREY - torch.tensor(PUBLISHED_MEAN)
    bias = weights[f"{first}.bias"] + (kernels * shift.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    return {**weights, f"{first}.weight": kernels.flip(1).contiguous(), f"{first}.bias": bias}


def _conv(
    inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3, depthwise: bool = False
) -> list[nn.Module]:
    # stride 2 pads right and bottom only, as the TensorFlow original does
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        (_StridedDepthwise if depthwise and stride > 1 else nn.Conv2d)(
            inputs, outputs, kernel, stride, groups=groups
        ),
        nn.ReLU6(inplace=True),
    ]
    return layers if kernel == 1 else [nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1), *layers]
