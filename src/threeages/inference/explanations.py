"""Explanations on disk: a picture for every image, one of the means, and one json file of all maps."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from threeages.errors import format_count
from threeages.faces.images import Pixels, encode_png
from threeages.files.atomic import new_path, remove_leftovers
from threeages.files.writing import write_bytes, write_json
from threeages.inference.explain import Explanation, MeanMap
from threeages.inference.heatmap import draw_tile, stack_tiles

JSON_FILE, MEAN_FILE = "explanations.json", "mean.png"


def write_pictures(explanations: Iterable[Explanation], folder: Path) -> Iterator[Explanation]:
    """Yield the explanations as they come, once the picture of their image is written to `folder`.

    A picture is named as its image. Nothing is overwritten: a name that is taken gets a number. Raises
    DataError where the folder cannot be written.
    """
    remove_leftovers(folder)
    for path, found in groupby(explanations, key=lambda one: one.path):
        faces = list(found)
        tiles = [tile for one in faces for tile in draw_explanation(one)]
        if tiles:
            content = encode_png(stack_tiles(tiles))
            with new_path(folder / f"{Path(path).stem}-map.png", need=len(content)) as part:
                part.write_bytes(content)
        yield from faces


def write_means(means: Mapping[str, MeanMap], folder: Path) -> Path:
    """Write the picture of the means; raises DataError where the folder cannot be written."""
    tiles = [
        draw_tile(mean.crop, mean.values, (f"{name}: mean of {format_count(mean.faces, 'face')}",))
        for name, mean in means.items()
    ]
    write_bytes(folder / MEAN_FILE, encode_png(stack_tiles(tiles)))
    return folder / MEAN_FILE


def write_maps(explanations: Iterable[Mapping[str, Any]], about: Mapping[str, Any], folder: Path) -> Path:
    """Write every map with what it was made by to one json file; raises DataError as write_pictures does."""
    write_json(folder / JSON_FILE, {**about, "faces": list(explanations)})
    return folder / JSON_FILE


def read_maps(path: Path) -> list[dict[str, Any]]:
    """The faces of a file of `write_maps`, a mapping each."""
    faces: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["faces"]
    return faces


def draw_explanation(explanation: Explanation) -> Iterator[Pixels]:
    """The tile of a face, uint8 RGB; none of an image without one."""
    if explanation.crop is None or explanation.found is None:
        return
    first = f"{explanation.age_group} {explanation.found.prob:.0%}"
    lines = [f"{first}  {Path(explanation.path).name}"]
    if worth := explanation.faithfulness:
        lines.append(
            f"deletion {worth.deletion:.2f} (random {worth.random_deletion:.2f})  "
            f"insertion {worth.insertion:.2f} (random {worth.random_insertion:.2f})"
        )
    yield draw_tile(explanation.crop, explanation.found.values, lines)
