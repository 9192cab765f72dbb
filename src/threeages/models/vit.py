"""The image tower of CLIP (ViT-B/16; Radford et al. 2021), whose features are used frozen."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network, small_neck

WIDTH, HEADS, BLOCKS, PATCH = 768, 12, 12, 16
NUM_FEATURES = 2 * WIDTH


class VisionTransformer(Network):
    """Normalised float `(n, 3, size, size)` to 1536 features and logits; `size` is a multiple of 16.

    The features are the class token beside the mean of the patches. `hidden` and `dropout`: see small_neck.
    """

    prefers_bfloat16 = True  # nearly all of it is linear layers

    def __init__(
        self,
        input_size: int,
        heads: Sequence[HeadSpec] = DEFAULT_HEADS,
        *,
        hidden: int = 0,
        dropout: float = 0.0,
    ) -> None:
        features = nn.Sequential(_Tokens(input_size // PATCH), *(_Block() for _ in range(BLOCKS)))
        neck = small_neck(NUM_FEATURES, hidden, dropout)
        super().__init__(Backbone(features, _Pool(), hidden or NUM_FEATURES, neck), heads)


class _Tokens(nn.Module):
    """Patches, a class token before them, and their places."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.position_embedding = nn.Parameter(torch.zeros(grid * grid + 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_load_state_dict_pre_hook(_fit_places)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
        out: Tensor = self.norm(x + self.position_embedding)
        return out


def _fit_places(tokens: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Places learnt on another grid (14 x 14 as published), drawn to this one's."""
    key = f"{prefix}position_embedding"
    grid = math.isqrt(len(cast(_Tokens, tokens).position_embedding) - 1)
    if key not in state or len(state[key]) == grid * grid + 1:
        return
    first, places = state[key].split([1, len(state[key]) - 1])
    old = math.isqrt(len(places))
    places = places.T.reshape(1, WIDTH, old, old)
    places = F.interpolate(places, (grid, grid), mode="bicubic", antialias=True)
    state[key] = torch.cat([first, places.reshape(WIDTH, -1).T])


class _Block(nn.Module):
    """Attention, then two layers on every token by itself; both added to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(WIDTH)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.layer_norm2 = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.fc2 = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer_norm1(x)
        q, k, v = (
            layer(y).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out_proj(y.transpose(1, 2).flatten(2))
        y = self.fc1(self.layer_norm2(x))
        out: Tensor = x + self.fc2(y * torch.sigmoid(1.702 * y))  # the fast GELU it was trained with
        return out


class _Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return pool_tokens(x)


def pool_tokens(tokens: Tensor) -> Tensor:
    """The class token beside the mean of the patches, `(n, 2 * t)` of `(n, 1 + p * p, t)`."""
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)


def rename_clip(key: str) -> str:
    """A key of the published weights (transformers' names) as one of `features`.

    What follows the blocks, and the tower of texts, has no place here: it counts as a head.
    """
    key = key.removeprefix("vision_model.")
    if key.startswith("encoder.layers."):
        index, _, rest = key.removeprefix("encoder.layers.").partition(".")
        return f"{int(index) + 1}." + rest.replace("self_attn.", "").replace("mlp.", "")
    known = {
        "embeddings.class_embedding": "0.class_embedding",
        "embeddings.patch_embedding.weight": "0.patch_embedding.weight",
        "embeddings.position_embedding.weight": "0.position_embedding",
        "pre_layrnorm.weight": "0.norm.weight",  # spelt so
        "pre_layrnorm.bias": "0.norm.bias",
    }
    return known.get(key, f"head.{key}")
