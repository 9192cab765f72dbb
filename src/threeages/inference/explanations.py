"""Explanations on disk: a picture for every image, one of the means, and one json file of all maps."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from threeages.errors import format_count
from threeages.faces.images import Pixels, encode_png
from threeages.files.atomic import new_path
from threeages.files.writing import write_bytes, write_json
from threeages.inference.explain import LEAST_FACES, Explanation, MeanMap
from threeages.inference.heatmap import draw_tile, stack_tiles

JSON_FILE, MEAN_FILE = "explanations.json", "mean.png"
COMPLETE, FACES = "complete", "faces"  # keys of the json file


def write_picture(faces: Sequence[Explanation], folder: Path) -> bool:
    """Write the picture of the faces of one image to `folder`, named as the image; False where there is none.

    Nothing is overwritten: a name that is taken gets a number. What killed processes left stays: see
    `files.atomic.new_path`. Raises DataError where the folder cannot be written.
    """
    tiles = [tile for one in faces for tile in draw_explanation(one)]
    if not tiles:
        return False
    content = encode_png(stack_tiles(tiles))
    with new_path(folder / f"{Path(faces[0].path).stem}-map.png", need=len(content)) as part:
        part.write_bytes(content)
    return True


def write_means(means: Mapping[str, MeanMap], folder: Path) -> Path:
    """Write the picture of the means; raises DataError where the folder cannot be written."""
    tiles = [draw_tile(mean.crop, mean.values, _describe_mean(name, mean)) for name, mean in means.items()]
    write_bytes(folder / MEAN_FILE, encode_png(stack_tiles(tiles)))
    return folder / MEAN_FILE


def write_maps(
    explanations: Sequence[Explanation], about: Mapping[str, Any], folder: Path, *, complete: bool = True
) -> Path:
    """Write every map with what it was made by to one json file; raises DataError as write_picture does.

    `complete` is False where images are left, which `read_stopped` then asks for.
    """
    faces = [one.to_dict() for one in explanations]
    write_json(folder / JSON_FILE, {**about, COMPLETE: complete, FACES: faces})
    return folder / JSON_FILE


def read_maps(path: Path) -> list[dict[str, Any]]:
    """The faces of a file of `write_maps`, a mapping each."""
    faces: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[FACES]
    return faces


def read_stopped(folder: Path, about: Mapping[str, Any]) -> list[Explanation] | None:
    """What an earlier start explained before it was stopped; empty where nothing is left to resume.

    None where what is there was made by other settings than `about`, or is damaged: it cannot be resumed.
    """
    try:
        content = json.loads((folder / JSON_FILE).read_bytes())
        if content[COMPLETE]:
            return []
        if any(content.get(name) != value for name, value in about.items()):
            return None
        return [Explanation.from_dict(face) for face in content[FACES]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


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


def _describe_mean(name: str, mean: MeanMap) -> Sequence[str]:
    first = f"{name}: mean of {format_count(mean.faces, 'face')}"
    if mean.crop is not None:
        return (first,)
    return first, f"the map alone: fewer than {LEAST_FACES} faces could be told from a face"
