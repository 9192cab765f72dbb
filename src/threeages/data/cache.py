"""The pixel cache: every image decoded once, resized, uint8, memory-mapped."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from threeages.data.augment import cut_view
from threeages.data.manifest import Manifest
from threeages.data.processes import start_processes
from threeages.data.stored import PART, PIXELS_FILE, PIXELS_FOLDER
from threeages.errors import DataError, ImageError
from threeages.faces.crop import whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import load_image, pixel_digest
from threeages.faces.yunet import YuNet
from threeages.signature import Signature

VERSION = 3  # raise it when decoding, resizing or a view changes, so that no stale pixels are used
CHUNK = 256  # images a task: long enough to hide its start, short enough for a smooth progress bar

LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Shape:
    """What is kept of every image."""

    size: int
    margin: float
    alignment: float
    views: int


@dataclass(frozen=True)
class PixelCache:
    """uint8 `pixels` `(views * n, size, size, 3)` in a file, `digests` `(n, 16)`, and the rows that failed.

    Row `view * n + i` is a view of image `i` (data.views).
    """

    file: Path
    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    failed: dict[int, str]


def open_cache(
    manifest: Manifest,
    size: int,
    *,
    margin: float = 0.0,
    alignment: float = 0.0,
    views: int = 1,
    folder: Path | None = None,
    workers: int | None = None,
) -> PixelCache:
    """Open the cache of a manifest's images at `size` px, building it first where it is not there.

    With an `alignment` above 0 each image's largest face is looked for and cut as in use (faces.cut); an
    image in which none is found is taken whole, and with 0 every one. Further `views` are drawn for training.

    The key digests every path, file size and time of change, and the settings. A build is written beside
    its final place and renamed when whole, by processes: a script that calls this needs the usual
    `if __name__ == "__main__":`. Raises DataError when the disk cannot hold it.
    """
    shape = Shape(size, margin if alignment else 0.0, alignment, views)
    place = (folder or PIXELS_FOLDER) / _key(manifest, shape)
    if not place.exists():
        _build(manifest, shape, place, workers or os.cpu_count() or 1)
    failed = json.loads((place / "failed.json").read_text(encoding="utf-8"))
    return PixelCache(
        place / PIXELS_FILE,
        np.load(place / PIXELS_FILE, mmap_mode="r"),
        np.load(place / "digests.npy"),
        {int(row): status for row, status in failed.items()},
    )


def open_faces(
    manifest: Manifest, signature: Signature, *, views: int = 1, folder: Path | None = None
) -> PixelCache:
    """`open_cache` of what a model of that signature is given of every image."""
    return open_cache(
        manifest,
        signature.input_size,
        margin=signature.margin,
        alignment=signature.alignment,
        views=views,
        folder=folder,
    )


def _key(manifest: Manifest, shape: Shape) -> str:
    settings = f"{VERSION}:{shape}:{manifest.root}"
    digest = hashlib.blake2b(settings.encode(), digest_size=12)
    for path, file in zip(manifest.paths, manifest.files(), strict=True):
        try:
            stat = file.stat()
            stamp = f"{stat.st_size}:{stat.st_mtime_ns}"
        except OSError:
            stamp = "missing"
        digest.update(f"\n{path}:{stamp}".encode())
    return digest.hexdigest()


def _build(manifest: Manifest, shape: Shape, place: Path, workers: int) -> None:
    part = place.with_name(f"{place.name}.{os.getpid()}{PART}")
    need = len(manifest) * shape.views * shape.size**2 * 3
    try:
        part.mkdir(parents=True)
        remove_leftovers(place.parent)
        if (free := shutil.disk_usage(part).free) < need * 1.05:
            raise DataError(
                f"The pixel cache needs {need / 1e9:.2f} GB; {part.parent} has {free / 1e9:.2f} GB free.",
                hint="Make room, or name another folder with --cache-dir.",
            )
        _fill(manifest, shape, part, workers)
        part.replace(place)
    except OSError as error:
        if place.exists():  # another process built the same cache first
            return
        raise DataError(
            f"Cannot write the pixel cache in {place.parent}: {error.strerror or error}.",
            hint="Name another folder with --cache-dir.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Parts that a killed build left: none takes a day, so that no other process is at work on them."""
    for part in folder.glob(f"*{PART}"):
        if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _fill(manifest: Manifest, shape: Shape, part: Path, workers: int) -> None:
    n = len(manifest)
    whole_shape = (shape.views * n, shape.size, shape.size, 3)
    np.lib.format.open_memmap(part / PIXELS_FILE, mode="w+", dtype=np.uint8, shape=whole_shape).flush()
    files = manifest.files()
    tasks = [(part / PIXELS_FILE, start, files[start : start + CHUNK], shape) for start in range(0, n, CHUNK)]
    digests: list[NDArray[np.uint8]] = []
    failed: dict[int, str] = {}
    for found, faults in track(_map(tasks, workers), total=len(tasks), description=f"Caching {n:,} images"):
        digests.append(found)
        failed |= faults
    np.save(part / "digests.npy", np.concatenate(digests))
    (part / "failed.json").write_text(json.dumps(failed), encoding="utf-8")


Task = tuple[Path, int, list[Path], Shape]
Filled = tuple[NDArray[np.uint8], dict[int, str]]


def _map(tasks: list[Task], workers: int) -> Iterator[Filled]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_fill_chunk, tasks)
        return
    with start_processes(min(workers, len(tasks)), __name__) as pool:
        yield from pool.map(_fill_chunk, tasks)


def _fill_chunk(task: Task) -> Filled:
    path, start, files, shape = task
    pixels = np.load(path, mmap_mode="r+")
    pixels = pixels.reshape(shape.views, -1, *pixels.shape[1:])
    detector = YuNet() if shape.alignment else None
    digests = np.zeros((len(files), 16), dtype=np.uint8)
    failed: dict[int, str] = {}
    for i, file in enumerate(files):
        try:
            image = load_image(file)
        except ImageError as error:
            failed[start + i] = error.status
            digests[i] = np.frombuffer((start + i).to_bytes(16, "big"), dtype=np.uint8)  # no twin of another
            continue
        faces = find_faces(image, detector) if detector else []
        face = faces[0] if faces else whole_image(image)
        for view in range(shape.views):
            pixels[view, start + i] = cut_view(
                image, face, view, start + i, shape.size, margin=shape.margin, alignment=shape.alignment
            )
        digests[i] = np.frombuffer(pixel_digest(image), dtype=np.uint8)
    return digests, failed
