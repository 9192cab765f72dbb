"""Grad-CAM: which parts of the last maps of a network raise the odds of an answer.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (2017),
by the library captum. It needs the network's weights, so it serves runs and not exported models.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from threeages.errors import MissingDependencyError, ModelError
from threeages.models.classifier import Classifier
from threeages.models.heads import MAIN


class GradCam:
    """Maps of one model, whose weights stay as they are.

    The maps are those of the last stage before the pooling that still has places: of a convolution
    `(n, c, h, w)`, or of a vision transformer the tokens of its patches. Raises ModelError for a network
    without such a stage, MissingDependencyError where captum is not installed.
    """

    def __init__(self, model: Classifier) -> None:
        try:
            from captum.attr import LayerGradCam
        except ModuleNotFoundError as error:
            raise MissingDependencyError("captum", "explain") from error
        self._net = _Tapped(model.eval())
        self._method = LayerGradCam(self._net, self._net.tap)

    def compute(self, pixels: NDArray[np.uint8], group: int) -> NDArray[np.float64]:
        """The map `(rows, columns)`, not negative, of one crop, uint8 RGB `(size, size, 3)`.

        `group` is the index of the age group whose log odds are explained: every head has them, an ordinal
        one too.
        """
        batch = torch.from_numpy(np.array(pixels[None]))
        with torch.enable_grad():
            found = self._method.attribute(batch, target=group, relu_attributions=True)
        values: NDArray[np.float64] = found[0, 0].detach().numpy().astype(np.float64)
        return values


def predict_probs(model: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities `(n, 3)` of a network in eval mode for crops, uint8 RGB `(n, size, size, 3)`."""
    with torch.inference_mode():
        found: NDArray[np.float32] = model.probs(torch.from_numpy(np.array(pixels))).numpy()
    return found


class _Tapped(nn.Module):
    """uint8 pixels `(n, size, size, 3)` to log odds `(n, 3)`; all maps pass through `tap`, `(n, c, h, w)`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.tap = nn.Identity()
        self.depth = _find_depth(model)

    def forward(self, pixels: Tensor) -> Tensor:
        stages, net = self.model.net.stages, self.model.net
        x = self.model.normalize(pixels)
        for stage in stages[: self.depth]:
            x = stage(x)
        x = self._pass(x.detach().requires_grad_())
        logits = net.classify(net.embed(x, self.depth))[MAIN]
        probs = net.head.probs(logits.double(), self.model.signature.temperature)
        return torch.logit(probs, eps=1e-15)  # of one that is 1 the log odds are no number

    def _pass(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            out: Tensor = self.tap(x)
            return out
        side = math.isqrt(x.shape[1] - 1)
        first, patches = x[:, :1], x[:, 1:]
        maps = self.tap(patches.transpose(1, 2).reshape(len(x), -1, side, side))
        return torch.cat([first, maps.flatten(2).transpose(1, 2)], dim=1)


def _find_depth(model: Classifier) -> int:
    """The number of stages up to the last one with places; raises ModelError where there is none."""
    size = model.signature.input_size
    x = model.normalize(torch.zeros(1, size, size, 3, dtype=torch.uint8))
    depth = 0
    with torch.inference_mode():
        for number, stage in enumerate(model.net.stages, start=1):
            x = stage(x)
            depth = number if _has_places(x) else depth
    if not depth:
        raise ModelError(
            f"Grad-CAM cannot explain {model.signature.name}: none of its stages gives maps of the image.",
            hint="Use occlusion maps, which serve every model: --method occlusion.",
        )
    return depth


def _has_places(x: Tensor) -> bool:
    if x.dim() == 4:
        return x.shape[2] * x.shape[3] > 1
    return x.dim() == 3 and math.isqrt(x.shape[1] - 1) ** 2 == x.shape[1] - 1 > 1
