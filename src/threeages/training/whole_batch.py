"""Layers that work on a whole batch though every process of a training holds only a part of it.

Batch norm takes the statistics of all rows, and dropout draws for all rows and uses its own: the network
trains as it would in one process. torch's SyncBatchNorm does the first on a GPU alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


@dataclass
class Part:
    """The rows `start` to `stop` of a batch of `total` are this process's; changed from batch to batch.

    Where it has none, a layer is given one row that does not count (ranks.Ranks.take).
    """

    start: int = 0
    stop: int = 0
    total: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def __deepcopy__(self, _: Any) -> "Part":
        """Itself: a copy of a network, as of its moving average, works on the same batch."""
        return self


def share_batches(network: nn.Module, part: Part) -> None:
    """Make batch norm and dropout of a network work on the whole batch; names and weights stay."""
    for module in network.modules():
        kind = type(module)
        if isinstance(module, _WholeBatch):
            continue
        if isinstance(module, _BatchNorm):
            module.__class__ = _derive(_WholeBatchNorm, kind)
        elif isinstance(module, _DropoutNd) or kind.__name__ == "DropPath":  # the latter is timm's
            module.__class__ = _derive(_WholeBatchDropout, kind)
        if isinstance(module, _WholeBatch):
            module.part = part


_KINDS: dict[type, type] = {}


def _derive(mixin: type, kind: type) -> type:
    if kind not in _KINDS:
        _KINDS[kind] = type(kind.__name__, (mixin, kind), {})
    return _KINDS[kind]


class _WholeBatch:
    part: Part


class _WholeBatchNorm(_WholeBatch):
    """Batch norm in training over the rows of all processes; else what it was."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if not self.training or not self.track_running_stats:
            return super().forward(x)  # type: ignore[no-any-return, misc]
        weight = torch.ones_like(self.running_var) if self.weight is None else self.weight
        bias = torch.zeros_like(weight) if self.bias is None else self.bias
        values = x if x.dtype == weight.dtype else x.float()  # of bfloat16 the sums would be too coarse
        out: Tensor = _normalize(values, weight, bias, self).to(x.dtype)
        # timm's batch norm holds the activation behind it as well
        return self.act(self.drop(out)) if hasattr(self, "act") else out


class _Normalize(torch.autograd.Function):
    """Batch norm with the mean and variance of all processes' rows, exact in both directions.

    torch's own kernel normalizes with given statistics; what the statistics add to the gradient is a
    factor of the input and a constant for each channel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: Any) -> Tensor:
        mean, var, count = _measure(x[: len(layer.part)])
        layer.num_batches_tracked.add_(1)
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(var * count / (count - 1).clamp(min=1), layer.momentum)
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps, ctx.rows = layer.eps, len(layer.part)
        out: Tensor = torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, layer.eps)[0]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, var, count = ctx.saved_tensors
        grad, own_weight, own_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0].contiguous(memory_format=_find_format(x)),
            x, weight, mean, var, None, None, False, ctx.eps, [True, True, True],
        )  # fmt: skip
        sums = torch.stack([own_weight, own_bias])
        distributed.all_reduce(sums)
        scale = (var + ctx.eps).rsqrt()
        factor = -weight * scale**2 * sums[0] / count
        constant = -weight * scale * sums[1] / count - factor * mean
        shape = (1, -1, *[1] * (x.dim() - 2))
        grad = grad.addcmul(x, factor.view(shape)).add_(constant.view(shape))
        grad[ctx.rows :] = 0
        return grad, own_weight, own_bias, None


_normalize: Any = _Normalize.apply


def _measure(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance `(c,)` of the rows of all processes, and how many values each channel has."""
    own = x.new_zeros((3, x.shape[1]))
    if len(x):
        own[0], own[1] = torch.batch_norm_update_stats(x, None, None, 0.0)
        own[2] = x[:, 0].numel()
    found = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, own)
    means, variances, counts = torch.stack(found, dim=1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    var = (counts * (variances + (means - mean) ** 2)).sum(0) / count
    return mean, var, count


class _WholeBatchDropout(_WholeBatch):
    """Dropout as it would be drawn for the whole batch."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)  # type: ignore[no-any-return, misc]
        whole_maps = isinstance(self, nn.Dropout1d | nn.Dropout2d | nn.Dropout3d)
        rest = (x.shape[1], *[1] * (x.dim() - 2)) if whole_maps else x.shape[1:]
        ones = x.new_ones((self.part.total, *rest)).contiguous(memory_format=_find_format(x))
        drawn: Tensor = super().forward(ones)  # type: ignore[misc]
        start = min(self.part.start, self.part.total - 1)
        return x * drawn[start : start + len(x)]


def _find_format(x: Tensor) -> torch.memory_format:
    if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
