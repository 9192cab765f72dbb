from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from threeages.export.gptq import _gptq, _Inputs, _patches, _refit

GROUPS, OUT, IN = 2, 8, 16


def _square(seed: int) -> Tensor:
    """Second moments `(GROUPS, IN, IN)` of inputs that go together, as those of a network do."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(GROUPS, IN, IN, generator=generator, dtype=torch.float64)
    mix[:, :, 0] *= 5
    return mix @ mix.mT


def _kernels() -> Tensor:
    return torch.randn(GROUPS, OUT, IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _error(off: Tensor, square: Tensor) -> float:
    """The mean squared error of what comes out, of weights that are off by so much."""
    return float((off @ square @ off.mT).diagonal(dim1=1, dim2=2).mean())


def test_weights_that_make_up_for_each_other_err_less_than_the_nearest() -> None:
    kernels, square, step = _kernels(), _square(0), 0.5
    rounded = _gptq(kernels, torch.full((GROUPS, OUT, 1), step, dtype=torch.float64), square, 64)
    nearest = (kernels / step).round()
    torch.testing.assert_close(rounded, rounded.round())
    assert _error(rounded * step - kernels, square) < 0.5 * _error(nearest * step - kernels, square)


def test_weights_stay_in_their_bits() -> None:
    steps = torch.full((GROUPS, OUT, 1), 0.01, dtype=torch.float64)
    assert _gptq(_kernels(), steps, _square(0), 64).abs().max() == 64


def test_a_refit_makes_up_for_an_input_that_8_bits_shrank() -> None:
    kernels, square = _kernels(), _square(0)
    none = torch.zeros(GROUPS, IN)
    alike = _refit(kernels, _Inputs(square, square, none, none))
    torch.testing.assert_close(alike, kernels)
    halved = _refit(kernels, _Inputs(square / 4, square / 2, none, none))
    before, after = (_error(0.5 * found - kernels, square) for found in (kernels, halved))
    assert after < 0.1 * before


@pytest.mark.parametrize("settings", [{}, {"strides": [2, 2]}, {"dilations": [2, 2]}, {"group": 2}])
def test_patches_times_kernels_are_a_convolution(settings: dict[str, Any]) -> None:
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 1], **settings)
    groups = settings.get("group", 1)
    x = torch.randn(3, 4, 9, 10, generator=torch.Generator().manual_seed(0))
    kernels = torch.randn(6, 4 // groups, 3, 2, generator=torch.Generator().manual_seed(1))
    patches = _patches(np.asarray(x), conv, kernels.shape)
    found = kernels.reshape(groups, 6 // groups, -1) @ patches
    stride, dilation = settings.get("strides", 1), settings.get("dilations", 1)
    expected = F.conv2d(F.pad(x, (1, 1, 0, 2)), kernels, None, stride, 0, dilation, groups)
    torch.testing.assert_close(found.flatten(0, 1), expected.transpose(0, 1).flatten(1))
