"""A network as stages, a neck and heads: what stands before a stage can be frozen and computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from threeages.models.heads import DEFAULT_HEADS, MAIN, Head, HeadSpec, create_head


@dataclass(frozen=True)
class Backbone:
    """Parts in the order they are passed: `features`, `pool` (no weights, ends the stages), `neck`.

    The neck may drop out or learn, so it is never part of a frozen prefix; it ends in `num_features`.
    """

    features: nn.Sequential
    pool: nn.Module
    num_features: int
    neck: nn.Module


class Network(nn.Module):
    """Normalised float `(n, 3, size, size)` to logits by task."""

    prefers_bfloat16 = False  # whether bfloat16, where a device has it, is the fastest way to run it

    def __init__(self, backbone: Backbone, heads: Sequence[HeadSpec] = DEFAULT_HEADS) -> None:
        super().__init__()
        assert heads[0].name == MAIN
        self.features = backbone.features
        self.pool = backbone.pool
        self.num_features = backbone.num_features
        self.neck = backbone.neck
        self.head = create_head(heads[0], backbone.num_features)
        self.tasks = nn.ModuleDict({h.name: create_head(h, backbone.num_features) for h in heads[1:]})
        self.frozen = 0

    @property
    def stages(self) -> list[nn.Module]:
        """What can be frozen, in order: every block of the features, then the pooling."""
        return [*self.features, self.pool]

    @property
    def heads(self) -> dict[str, Head]:
        """Every head by task, the age group first."""
        return {MAIN: self.head, **self.tasks}  # type: ignore[dict-item]

    def forward(self, x: Tensor, start: int = 0) -> dict[str, Tensor]:
        """Logits by task; `x` is what enters stage `start`, activations of a frozen prefix where not 0."""
        return self.classify(self.embed(x, start))

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Features `(n, num_features)` that the heads take."""
        for stage in self.stages[start:]:
            x = stage(x)
        out: Tensor = self.neck(x)
        return out

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Logits by task from the neck's features."""
        return {name: head(features) for name, head in self.heads.items()}

    def freeze(self, depth: int) -> None:
        """Hold the first `depth` stages: no gradient, and no batch-norm statistic of theirs moves."""
        self.frozen = depth
        for i, stage in enumerate(self.stages):
            stage.requires_grad_(i >= depth)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Training mode for everything but the frozen stages."""
        super().train(mode)
        for stage in self.stages[: self.frozen]:
            stage.eval()
        return self


def global_pool() -> nn.Sequential:
    """Mean over the positions: `(n, c, h, w)` to `(n, c)`."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small_neck(num_features: int, hidden: int, dropout: float) -> nn.Sequential:
    """Frozen features normalised, then a layer of `hidden` units with `dropout` before and after it.

    With 0 units the heads are linear on the features.
    """
    layers: list[nn.Module] = [nn.BatchNorm1d(num_features, affine=False), nn.Dropout(dropout)]
    if hidden:
        layers += [nn.Linear(num_features, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


def init_as_keras(network: nn.Module) -> None:
    """Glorot uniform weights and zero biases of every convolution and linear layer."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
