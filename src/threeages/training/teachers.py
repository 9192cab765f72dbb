"""What frozen networks make of faces, for another to learn; of every face once, whatever the fold."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from threeages.data.cache import open_faces
from threeages.data.manifest import Manifest
from threeages.data.mixup import Mixture
from threeages.data.split import Rows
from threeages.data.stored import FEATURES_FOLDER
from threeages.models.classifier import create_classifier
from threeages.models.weights import load_pretrained
from threeages.training.build import configured_signature
from threeages.training.config import TrainConfig
from threeages.training.frozen import Inputs, Stretch, find_activations, open_activations
from threeages.training.recipes import create_recipe

MAPS, POOLED = -1, 0  # stages from the last on: what enters the pooling, and what leaves it
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Teacher:
    """A frozen network, every face cut as it takes them, and what it makes of each, `(n, ...)`."""

    network: Stretch
    pixels: NDArray[np.uint8]
    kept: Halves

    def answer(self, faces: Mixture, device: torch.device) -> Tensor:
        """float `(b, ...)`: as kept for one face, asked anew for two in one."""
        found = torch.from_numpy(self.kept[faces.rows]).to(device).float()
        if len(mixed := faces.mixed):
            found[torch.from_numpy(mixed)] = self.network.ask(faces.blend(self.pixels, mixed), device)
        return found


def open_network(faces: Manifest, config: TrainConfig, cache_dir: Path | None) -> Teacher:
    """The settings' network with its pretrained weights, for its features `(n, f)` of every face."""
    return _open(faces, config, cache_dir, stages=(POOLED,))


def open_tower(
    faces: Manifest, weights: str, alignment: float, cache_dir: Path | None, *, whole: bool = False
) -> Teacher:
    """CLIP's image tower of such weights, for its tokens `(n, 1 + p * p, t)` of every face cut so.

    The first token is the class token, the others are the patches in rows. Of the `whole` instead, the class
    token beside the mean patch, `(n, 2 * t)`, which is computed from the tokens. Tokens of 39,000 faces take
    6 GB, and 45 minutes on 2 cores with AVX-512 BF16.
    """
    config = replace(create_recipe("clip-features"), weights=weights, alignment=alignment)
    return _open(faces, config, cache_dir, stages=(MAPS, POOLED) if whole else (MAPS,))


def standardize(features: NDArray[np.floating], rows: Rows) -> NDArray[np.float32]:
    """Features float32 `(n, f)` brought to mean 0 and variance 1 over the rows."""
    found = np.asarray(features, dtype=np.float32)
    scaled: NDArray[np.float32] = StandardScaler().fit(found[rows]).transform(found)
    return scaled


def _open(
    faces: Manifest, config: TrainConfig, cache_dir: Path | None, *, stages: tuple[int, ...]
) -> Teacher:
    """The network up to the last of the stages; what leaves each is computed from the one before it."""
    torch.manual_seed(config.seed)  # the weights may be `random`
    signature = configured_signature(config)
    model = create_classifier(signature)
    load_pretrained(model, config.weights)
    cache = open_faces(faces, signature, folder=cache_dir)
    key, folder = cache.digests.tobytes(), cache_dir or FEATURES_FOLDER
    depths = [len(model.net.stages) + stage for stage in stages]
    inputs = find_activations(model, key, depths[-1], folder) or Inputs(cache.pixels)
    for depth in depths:
        if depth > inputs.depth:
            inputs = open_activations(model, inputs, key, depth, folder, config.max_cache_gb)
    return Teacher(Stretch(model, 0, depths[-1]).eval(), cache.pixels, inputs.values)
