"""A network as stages, a neck and heads: the first stages can be frozen and their output computed once."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from threeages.models.heads import DEFAULT_HEADS, MAIN, Head, HeadSpec, create_head


@dataclass(frozen=True)
class Backbone:
    """Parts in the order of the forward pass: `features`, `pool` (no weights, the last stage), `neck`.

    The neck holds dropout or weights, so it is never frozen; its output is float `(n, num_features)`.
    `stage_sizes` says how many modules of `features` make up each stage, None that each is a stage.
    `prefers_bfloat16`: torch in bfloat16 is the fastest way to run it on a processor with such instructions
    (AVX512-BF16), faster than ONNX Runtime in float32. It holds for transformers: they are all linear layers.
    """

    features: nn.Sequential
    pool: nn.Module
    num_features: int
    neck: nn.Module
    stage_sizes: tuple[int, ...] | None = None
    prefers_bfloat16: bool = False


class Network(nn.Module):
    """Normalised float `(n, 3, size, size)` to logits `(n, k)` by task; the first head is the age group's."""

    def __init__(self, backbone: Backbone, heads: Sequence[HeadSpec] = DEFAULT_HEADS) -> None:
        super().__init__()
        assert heads[0].name == MAIN
        assert sum(backbone.stage_sizes or ()) in {0, len(backbone.features)}
        self.features = backbone.features
        self.pool = backbone.pool
        self.num_features = backbone.num_features
        self.neck = backbone.neck
        self.head = create_head(heads[0], backbone.num_features)
        self.tasks = nn.ModuleDict({h.name: create_head(h, backbone.num_features) for h in heads[1:]})
        self.frozen = 0
        self.prefers_bfloat16 = backbone.prefers_bfloat16
        self._stage_sizes = backbone.stage_sizes

    @property
    def stages(self) -> list[nn.Module]:
        """What can be frozen, in order: every block of the features, then the pooling.

        A block of several modules is a view of them: it has no weights but theirs.
        """
        if self._stage_sizes is None:
            return [*self.features, self.pool]
        ends = itertools.accumulate(self._stage_sizes, initial=0)
        return [*(self.features[start:end] for start, end in itertools.pairwise(ends)), self.pool]

    @property
    def heads(self) -> dict[str, Head]:
        """Every head by task, the age group first."""
        return {MAIN: self.head, **self.tasks}  # type: ignore[dict-item]

    def forward(self, x: Tensor, start: int = 0) -> dict[str, Tensor]:
        """Logits `(n, k)` by task; `x` is the input of stage `start`: activations where that is not 0."""
        return self.classify(self.embed(x, start))

    def embed(self, x: Tensor, start: int = 0) -> Tensor:
        """Features `(n, num_features)` that the heads take, from the input of stage `start`."""
        for stage in self.stages[start:]:
            x = stage(x)
        out: Tensor = self.neck(x)
        return out

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Logits `(n, k)` by task from the neck's features."""
        return {name: head(features) for name, head in self.heads.items()}

    def freeze(self, depth: int) -> None:
        """Freeze the first `depth` stages: no gradient, and their batch-norm statistics stay as they are."""
        assert 0 <= depth <= len(self.stages), f"{depth} of {len(self.stages)} stages cannot be frozen"
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
    """Batch norm of the features, then a layer of `hidden` units with `dropout` before and after it.

    float `(n, num_features)` to `(n, hidden)`; with 0 units `(n, num_features)`: the heads are linear probes.
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
