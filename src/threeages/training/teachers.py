"""Features of frozen teachers, computed once for every face of a manifest, whatever the fold."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from threeages.data.cache import open_faces
from threeages.data.manifest import Manifest
from threeages.data.stored.opening import FEATURES_FOLDER
from threeages.errors import ModelError
from threeages.models.classifier import create_classifier
from threeages.models.registry import create_signature, find_model
from threeages.models.weights import load_pretrained
from threeages.signature import Signature
from threeages.training.frozen import FeatureSource, find_features, open_features

ENCODER = "clip_vit_b16"
ENCODER_SIZE = 160  # pixels: a face takes half of the time that it takes at the published 224
MAPS, POOLED = -1, 0  # stages from the last on: what enters the pooling, and what leaves it

Float16 = NDArray[np.float16]


def open_network_features(
    faces: Manifest, name: str, weights: str | None, cache_dir: Path | None, *, seed: int = 42, max_gb: float
) -> Float16:
    """Pooled features `(n, f)` of a network as published: its weights, input size and alignment."""
    signature = create_signature(name, find_model(name).signature.input_size)
    return _open(faces, signature, weights, cache_dir, (POOLED,), seed=seed, max_gb=max_gb)


def open_encoder_tokens(
    faces: Manifest, weights: str, alignment: float, cache_dir: Path | None, *, max_gb: float
) -> Float16:
    """Tokens `(n, 1 + p * p, t)` of CLIP's image encoder, of faces aligned as given.

    The class token comes first, then the patches row by row.
    """
    signature = create_signature(ENCODER, ENCODER_SIZE, alignment=alignment)
    with _name_teacher():
        return _open(faces, signature, weights, cache_dir, (MAPS,), max_gb=max_gb)


def open_encoder_features(
    faces: Manifest, weights: str, alignment: float, cache_dir: Path | None, *, max_gb: float
) -> Float16:
    """Pooled features `(n, 2 * t)` of CLIP's image encoder: the class token beside the patches' mean."""
    signature = create_signature(ENCODER, ENCODER_SIZE, alignment=alignment)
    with _name_teacher():
        return _open(faces, signature, weights, cache_dir, (MAPS, POOLED), max_gb=max_gb)


@contextmanager
def _name_teacher() -> Iterator[None]:
    """Faults of the weights' file name the option that gave it."""
    try:
        yield
    except ModelError as error:
        hint = (
            "Give --teacher FILE, weights of CLIP's image encoder: tools/fetch_weights.py clip fetches them."
        )
        raise ModelError(error.message, hint=hint) from error


def _open(
    faces: Manifest,
    signature: Signature,
    weights: str | None,
    cache_dir: Path | None,
    stages: Sequence[int],
    *,
    seed: int = 42,
    max_gb: float,
) -> Float16:
    """The last stage's output; each stage named is kept, and computed from the one named before it."""
    torch.manual_seed(seed)  # the weights may be `random`
    model = create_classifier(signature)
    load_pretrained(model, weights)
    cache = open_faces(faces, signature, folder=cache_dir)
    folder = cache_dir or FEATURES_FOLDER
    depths = [len(model.net.stages) + stage for stage in stages]
    source = find_features(model, cache.key, depths[-1], folder) or FeatureSource(cache.pixels)
    for depth in depths:
        if depth > source.depth:
            source = open_features(model, source, cache.key, depth, folder, max_gb)
    return source.values
