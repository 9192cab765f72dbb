"""Occlusion maps: how much the probability of an answer drops when a patch of the face is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014). The method needs nothing
but the probabilities of the model, so it serves every exported model and needs no torch.
"""

import io
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from threeages.faces.images import Pixels
from threeages.inference.explanation import FaceMap, find_answer, run_in_batches

CELLS = 8  # rows and columns of the map


def occlude_patches(pixels: Pixels) -> list[Pixels]:
    """Copies of a face crop `(size, size, 3)`, one for each cell of the map, row by row.

    In each copy a patch has the mean colour of the crop. The patch is twice as wide as its cell, because
    covering the cell alone hardly changes an answer.
    """
    size = len(pixels)
    edges = np.linspace(0, size, CELLS + 1)
    half = size / CELLS / 2
    mean = pixels.mean(axis=(0, 1)).astype(np.uint8)
    spans = [
        slice(max(round(start - half), 0), round(stop + half)) for start, stop in itertools.pairwise(edges)
    ]
    copies = []
    for rows in spans:
        for columns in spans:
            copy = pixels.copy()
            copy[rows, columns] = mean
            copies.append(copy)
    return copies


def occlusion_map(prob: float, occluded_probs: Sequence[float]) -> NDArray[np.float64]:
    """The map `(CELLS, CELLS)`: by how much the probability drops, 0 where it does not.

    `prob` is the probability of an age group for the whole crop, `occluded_probs` those of the same age
    group for the copies of `occlude_patches`.
    """
    drops = np.clip(prob - np.asarray(occluded_probs, dtype=np.float64), 0, None)
    return np.round(drops.reshape(CELLS, CELLS), 6)


def map_occlusion(predict: Callable[[Pixels], NDArray[np.float32]], pixels: Pixels) -> FaceMap:
    """The occlusion map of the most probable age group of a face crop, uint8 RGB `(size, size, 3)`.

    `predict` gives probabilities `(n, 3)` of crops `(n, size, size, 3)`, such as `OnnxModel.predict`.

    Example:
        >>> model = OnnxModel(default_model_path())
        >>> map_occlusion(model.predict, crop).values
    """
    group, prob = find_answer(predict, pixels)
    occluded = run_in_batches(predict, occlude_patches(pixels))[:, group]
    return FaceMap(group, prob, occlusion_map(prob, occluded.tolist()))


def to_png(pixels: Pixels) -> bytes:
    """A crop, uint8 RGB `(height, width, 3)`, as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
