"""The faces of photos with given boxes as images of their own, which a manifest can name one by one."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from threeages.data.importing.rows import BOX
from threeages.errors import DataError, ImageError
from threeages.faces.crop import Box, Face, crop_box
from threeages.faces.images import load_image
from threeages.files.atomic import atomic_path
from threeages.files.csvfiles import Row
from threeages.processes import start_processes
from threeages.progress import track_progress

MARGIN = 0.1  # of the box's longer side: the chin and the hair that a tight box cuts away
MIN_SIDE = 16  # pixels of a box's shorter side; a smaller face gets no answer in use either
QUALITY = 95  # of the JPEG; coarser steps would blur what the photo still shows
CHUNK = 64  # photos a task
_PARALLEL_FROM = 256  # photos; below it, starting processes costs more than it saves


class Photo(NamedTuple):
    """A photo, and the box and the file of each face that is written of it."""

    file: Path
    faces: tuple[tuple[Box, Path], ...]


def crop_faces(
    rows: list[Row], root: Path, folder: Path, *, workers: int | None = None
) -> tuple[list[Row], Counter[str]]:
    """Write the face in the BOX of every row as a JPEG below `folder`; the rows with their new paths.

    The name is that of the photo below `root` and the face's number in it. Rows whose photo cannot be read
    (`unreadable`), or whose box lies outside of it or is below MIN_SIDE pixels (`bad_box`), are left out and
    counted. Raises DataError where the folder cannot be written.
    """
    names = _name_crops(rows)
    photos: dict[str, list[tuple[Box, Path]]] = defaultdict(list)
    for row, name in zip(rows, names, strict=True):
        photos[row["path"]].append((_parse_box(row[BOX]), folder / name))
    failed = _write_all([Photo(root / path, tuple(faces)) for path, faces in photos.items()], workers)
    kept = [
        {key: cell for key, cell in row.items() if key != BOX} | {"path": name}
        for row, name in zip(rows, names, strict=True)
        if str(folder / name) not in failed
    ]
    return kept, Counter(failed.values())


def _name_crops(rows: list[Row]) -> list[str]:
    """`00/photo-0.jpg` for the first face of `00/photo.png`, without names that two photos would share."""
    numbers: Counter[PurePosixPath] = Counter()
    names = []
    for row in rows:
        plain = PurePosixPath(row["path"]).with_suffix("")
        names.append(f"{plain}-{numbers[plain]}.jpg")
        numbers[plain] += 1
    return names


def _write_all(photos: list[Photo], workers: int | None) -> dict[str, str]:
    """The files that were not written, with the reason."""
    tasks = [photos[start : start + CHUNK] for start in range(0, len(photos), CHUNK)]
    failed: dict[str, str] = {}
    workers = min(workers or os.cpu_count() or 1, len(tasks)) if len(photos) >= _PARALLEL_FROM else 1
    for found in track_progress(_map(tasks, workers), f"Cropping {len(photos):,} photos", len(tasks)):
        failed |= found
    return failed


def _map(tasks: list[list[Photo]], workers: int) -> Iterator[dict[str, str]]:
    if workers == 1:
        yield from map(_write_chunk, tasks)
        return
    with start_processes(workers, __name__) as pool:
        yield from pool.map(_write_chunk, tasks)


def _write_chunk(photos: list[Photo]) -> dict[str, str]:
    failed: dict[str, str] = {}
    for photo in photos:
        try:
            pixels = load_image(photo.file)
        except ImageError:
            failed |= {str(file): "unreadable" for _, file in photo.faces}
            continue
        for box, file in photo.faces:
            box = _clip(box, pixels.shape[1], pixels.shape[0])
            if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
                failed[str(file)] = "bad_box"
                continue
            face = crop_box(pixels, Face(box, 1.0), MARGIN)
            with atomic_path(file, clean=False) as part:
                Image.fromarray(face).save(part, "JPEG", quality=QUALITY, subsampling=0)
    return failed


def _clip(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


def _parse_box(text: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split())
    except ValueError as error:
        raise DataError(f"'{text}' is no box.", hint="A box is x1 y1 x2 y2 in pixels.") from error
    return x1, y1, x2, y2
