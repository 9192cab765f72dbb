"""Embeddings of a data set's faces, computed once and stored."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.cache import VERSION, PixelCache
from threeages.data.leakage.embedder import DIMENSIONS, FaceEmbedder
from threeages.data.stored.opening import EMBEDDINGS, open_stored
from threeages.data.stored.partial import Chunks, Rows, fill_rows
from threeages.errors import format_count

EMBEDDINGS_FILE = "embeddings.npy"
CHUNK = 64  # faces between two notes of what is finished


def open_embeddings(cache: PixelCache, embedder: FaceEmbedder) -> NDArray[np.float32]:
    """Unit vectors float32 `(n, 128)` of the aligned faces in a cache; zeros where an image failed.

    The first call computes them, and later ones read them; one that was stopped resumes. Raises DataError
    when the cache's folder cannot be written.
    """
    settings = f"{VERSION}:{embedder.digest}:{cache.file.parent.name}:".encode()
    key = hashlib.blake2b(settings + cache.key, digest_size=12).hexdigest()
    place = cache.file.parent.with_name(EMBEDDINGS + key)
    entry = open_stored(place, lambda part: _build(cache, embedder, part))
    return np.asarray(entry.load_array(EMBEDDINGS_FILE), dtype=np.float32)


def _build(cache: PixelCache, embedder: FaceEmbedder, part: Path) -> None:
    n = len(cache.digests)
    failed = np.zeros(n, dtype=bool)
    failed[list(cache.failed)] = True

    def fill(part: Path, starts: Sequence[int]) -> Chunks:
        vectors = np.load(part / EMBEDDINGS_FILE, mmap_mode="r+")
        for start in starts:
            rows = slice(start, min(start + CHUNK, n))
            vectors[rows] = np.where(failed[rows, None], 0, embedder.embed(cache.pixels[rows]))
            yield start, {}

    arrays = {EMBEDDINGS_FILE: (np.float32, (n, DIMENSIONS))}
    fill_rows(part, Rows(n, CHUNK, arrays), fill, f"Comparing {format_count(n, 'face')}")
