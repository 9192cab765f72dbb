"""The image encoder of CLIP (ViT-B/16; Dosovitskiy et al. 2021, Radford et al. 2021), used frozen."""

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


def clip_vit_b16(
    heads: Sequence[HeadSpec] = DEFAULT_HEADS,
    *,
    input_size: int = 224,
    hidden: int = 0,
    dropout: float = 0.0,
) -> Network:
    """Normalised float `(n, 3, size, size)` to 1536 features and logits; `size` is a multiple of 16.

    The features are the class token beside the mean of the patches. Stages are the embedding, the 12 blocks
    and the pooling of the tokens. `hidden` and `dropout`: see small_neck.
    """
    features = nn.Sequential(_Embedding(input_size // PATCH), *(_Block() for _ in range(BLOCKS)))
    neck = small_neck(NUM_FEATURES, hidden, dropout)
    backbone = Backbone(features, _Pool(), hidden or NUM_FEATURES, neck, prefers_bfloat16=True)
    return Network(backbone, heads)


class _Embedding(nn.Module):
    """float `(n, 3, size, size)` to the class token and patches `(n, 1 + p * p, 768)`, `p = size / 16`.

    A position embedding of another grid (14 x 14 as published) is resized when weights are loaded.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.position_embedding = nn.Parameter(torch.zeros(grid * grid + 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_load_state_dict_pre_hook(_resize_positions)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
        out: Tensor = self.norm(x + self.position_embedding)
        return out


def _resize_positions(embedding: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Resize the position embedding `(1 + q * q, 768)` in `state` to the grid of `embedding`, bicubic."""
    key = f"{prefix}position_embedding"
    grid = math.isqrt(len(cast(_Embedding, embedding).position_embedding) - 1)
    if key not in state or len(state[key]) == grid * grid + 1:
        return
    first, positions = state[key].split([1, len(state[key]) - 1])
    old = math.isqrt(len(positions))
    positions = positions.T.reshape(1, WIDTH, old, old)
    positions = F.interpolate(positions, (grid, grid), mode="bicubic", antialias=True)
    state[key] = torch.cat([first, positions.reshape(WIDTH, -1).T])


class _Block(nn.Module):
    """Tokens `(n, t, 768)` to the same shape: self-attention, then a two-layer perceptron, both residual."""

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
    """Tokens `(n, 1 + p * p, t)` to `(n, 2 * t)`: the class token beside the mean of the patches."""
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)


def rename_clip(key: str) -> str:
    """A key of the published weights (transformers' names) as a key of `features`.

    Keys that `features` lacks (the text encoder, the final norm, the projections) get the prefix `head.`,
    by which load_pretrained skips them.
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
