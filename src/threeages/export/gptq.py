"""GPTQ (Frantar et al. 2023) for convolutions: each weight is rounded to correct the error of the others."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from threeages.export.graph import (
    ActivationProbe,
    Constants,
    count_groups,
    find_convs,
    find_producers,
    read_ints,
)

DAMPING = 0.01  # of the mean square of an input, as GPTQ has it
MAX_POSITIONS = 400_000  # measured for a convolution: the first ones need not see every image
PRIOR = 0.1  # ridge of the refit towards the float32 weights, as a share of the mean square of an input

log = logging.getLogger(__name__)


def round_weights(quantized: onnx.ModelProto, exact: onnx.ModelProto, pixels: NDArray[np.uint8]) -> None:
    """Choose the int8 weights and biases of every convolution of `quantized` again, first to last, in place.

    `exact` is the float32 graph of the same convolutions, `pixels` uint8 `(n, size, size, 3)` calibrate. For
    each convolution least squares finds the float weights that bring its output, from the quantized input,
    nearest to the output in float32; GPTQ rounds them, and the bias takes the mean error that remains (bias
    correction; Nagel et al. 2019). A convolution without quantized weights and bias is left as it is, which
    is logged.
    """
    producers = find_producers(quantized.graph)
    stored, floats = Constants(quantized.graph), Constants(exact.graph)
    probes = ActivationProbe(quantized, pixels), ActivationProbe(exact, pixels)
    for conv, exact_conv in zip(find_convs(quantized.graph), find_convs(exact.graph), strict=True):
        sources = [producers.get(name) for name in conv.input[1:]]
        if len(sources) < 2 or any(node is None or node.op_type != "DequantizeLinear" for node in sources):
            log.warning("GPTQ skips the convolution %s: it has no quantized weights and bias.", conv.name)
            continue
        (weight, step), (bias, bias_step) = (node.input[:2] for node in sources if node is not None)
        float_weight = floats[exact_conv.input[1]]
        inputs = zip(probes[0].read(conv.input[0]), probes[1].read(exact_conv.input[0]), strict=True)
        moments = _measure_moments(inputs, conv, float_weight.shape)
        kernels = _grouped(float_weight, moments.groups)
        steps = _grouped(stored[step], moments.groups)
        before = stored[weight]
        limit = int(np.abs(before.astype(np.int64)).max())
        rounded = _gptq(_refit(kernels, moments), steps, moments.square, limit)
        stored[weight] = rounded.reshape(before.shape).numpy().astype(before.dtype)
        expected = kernels @ moments.exact_mean[..., None]
        found = (rounded * steps) @ moments.mean[..., None]
        shift = floats[exact_conv.input[2]] + (expected - found).flatten().numpy()
        stored[bias] = np.round(shift / stored[bias_step]).astype(stored[bias].dtype)


@dataclass(frozen=True)
class _Moments:
    """Second moments `(groups, i, i)` and means `(groups, i)` of the `i` input values that a kernel covers.

    `square` of the quantized input with itself, `cross` of the float32 input with the quantized one.
    """

    square: Tensor
    cross: Tensor
    mean: Tensor
    exact_mean: Tensor

    @property
    def groups(self) -> int:
        return len(self.square)


def _measure_moments(
    inputs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]],
    conv: onnx.NodeProto,
    shape: tuple[int, ...],
) -> _Moments:
    """From batches `(b, c, h, w)` of the quantized and the float32 input; `shape` is that of the kernels."""
    totals: list[Tensor] = []
    count = 0
    for pair in inputs:
        x, y = (_patches(values, conv, shape) for values in pair)
        sums = [part.double() for part in (x @ x.mT, y @ x.mT, x.sum(dim=2), y.sum(dim=2))]
        totals = [t + s for t, s in zip(totals, sums, strict=True)] if totals else sums
        count += x.shape[2]
        if count >= MAX_POSITIONS:
            break
    return _Moments(*(total / count for total in totals))


def _patches(values: NDArray[np.float32], conv: onnx.NodeProto, shape: tuple[int, ...]) -> Tensor:
    """`(b, c, h, w)` to `(groups, i, positions)`: the `i` values under the kernel at every position."""
    top, left, bottom, right = read_ints(conv, "pads", (0, 0, 0, 0))
    x = F.pad(torch.from_numpy(values), (left, right, top, bottom)).transpose(0, 1)
    dilation, stride = (read_ints(conv, name, (1, 1)) for name in ("dilations", "strides"))
    offsets = [
        tuple(
            slice(at * step, size - (kernel - 1 - at) * step, by)
            for at, step, size, kernel, by in zip(
                offset, dilation, x.shape[2:], shape[2:], stride, strict=True
            )
        )
        for offset in np.ndindex(*shape[2:])
    ]
    # copied slice by slice, which is faster than torch's own unfold
    patches = torch.stack([x[:, :, rows, columns].flatten(1) for rows, columns in offsets], dim=1)
    return patches.reshape(count_groups(conv), -1, patches.shape[2])


def _grouped(values: NDArray[np.generic], groups: int) -> Tensor:
    """Weights `(out, ...)` or a value for each as float64 `(groups, out, i)`, `out` of one group."""
    return torch.from_numpy(values.astype(np.float64)).reshape(groups, len(values) // groups, -1)


def _refit(kernels: Tensor, moments: _Moments) -> Tensor:
    """Kernels `(groups, out, i)` whose output from the quantized input is nearest to that in float32."""
    ridge = PRIOR * _mean_square(moments.square)
    found: Tensor = torch.linalg.solve(moments.square + ridge, kernels @ (moments.cross + ridge), left=False)
    return found


def _gptq(kernels: Tensor, steps: Tensor, square: Tensor, limit: int) -> Tensor:
    """Whole numbers of `steps` from -limit to limit, `(groups, out, i)`, for inputs of that second moment.

    Column by column, the strongest input first: the rounding error of a column is spread over the columns not
    rounded yet, as the inputs are correlated.
    """
    order = square.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True)
    square = square + DAMPING * _mean_square(square)
    square = square.gather(1, order[:, :, None].expand_as(square))
    square = square.gather(2, order[:, None].expand_as(square))
    remaining = kernels.gather(2, order[:, None].expand_as(kernels))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(square))
    factor = torch.linalg.cholesky(inverse, upper=True)
    rounded = torch.empty_like(remaining)
    for i in range(remaining.shape[2]):
        rounded[..., i] = (remaining[..., i] / steps[..., 0]).round().clamp(-limit, limit)
        error = (remaining[..., i] - rounded[..., i] * steps[..., 0]) / factor[:, None, i, i]
        remaining -= error[..., None] * factor[:, None, i]
    return rounded.gather(2, order.argsort(dim=1)[:, None].expand_as(rounded))


def _mean_square(square: Tensor) -> Tensor:
    """The mean of the diagonal, `(groups, i, i)` as a multiple of the unit matrix, never quite 0."""
    mean = square.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    return mean[:, None, None] * torch.eye(square.shape[1], dtype=square.dtype)
