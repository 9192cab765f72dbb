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

from threeages.data.augment import create_copy
from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.data.duplicates import SIDE, NearDuplicates, create_thumbnail, find_near_duplicates
from threeages.data.manifest import Manifest
from threeages.data.processes import start_processes
from threeages.data.stored import PART, PIXELS_FILE, PIXELS_FOLDER
from threeages.errors import DataError, ImageError, describe_cause
from threeages.faces.crop import whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import Pixels, load_image, pixel_digest
from threeages.faces.yunet import YuNet
from threeages.files import atomic_path
from threeages.progress import track_progress
from threeages.signature import Signature

VERSION = 4  # raise it when decoding, resizing or an augmentation changes, so that no stale pixels are used
CHUNK = 256  # images a task: long enough to hide its start, short enough for a smooth progress bar

THUMBNAILS_FILE, NEAR_FILE = "thumbnails.npy", "near.npz"  # beside the pixels
LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Shape:
    """What is kept of every image; the augmentation only where it decides about pixels."""

    size: int
    margin: float
    alignment: float
    copies: int
    augmentation: Augmentation | None


@dataclass(frozen=True)
class PixelCache:
    """uint8 `pixels` `(copies * n, size, size, 3)` in a file, `digests` `(n, 16)`, and the rows that failed.

    Beside the file lie the thumbnails that `open_near_duplicates` compares.

    Row `copy * n + i` is a copy of image `i` (data.augment.create_copy). `key` names the pixels' content
    but for the preprocessing: the images and, where there are copies, their augmentation.
    """

    file: Path
    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    failed: dict[int, str]
    key: bytes = b""


def open_cache(
    manifest: Manifest,
    size: int,
    *,
    margin: float = 0.0,
    alignment: float = 0.0,
    copies: int = 1,
    augmentation: Augmentation = DEFAULT_AUGMENTATION,
    folder: Path | None = None,
    workers: int | None = None,
) -> PixelCache:
    """Open the cache of a manifest's images at `size` px, building it first where it is not there.

    With an `alignment` above 0 each image's largest face is found and cropped as in use (faces.crop); an
    image without a face is taken whole, and with 0 every image is. More than one of `copies` are for
    training: those behind the first follow `augmentation` (data.augment.create_copy).

    The cache's folder is named by a digest of every path, file size and time of change, and of the settings.
    It is written beside its final place and renamed when complete, by worker processes: a script that calls
    this needs the usual `if __name__ == "__main__":`. Raises DataError when the disk cannot hold it.
    """
    shape = Shape(size, margin if alignment else 0.0, alignment, copies, augmentation if copies > 1 else None)
    place = (folder or PIXELS_FOLDER) / _key(manifest, shape)
    if not place.exists():
        _build(manifest, shape, place, workers or os.cpu_count() or 1)
    failed = json.loads((place / "failed.json").read_text(encoding="utf-8"))
    digests = np.load(place / "digests.npy")
    key = digests.tobytes() * copies + (b"" if shape.augmentation is None else repr(augmentation).encode())
    return PixelCache(
        place / PIXELS_FILE,
        np.load(place / PIXELS_FILE, mmap_mode="r"),
        digests,
        {int(row): status for row, status in failed.items()},
        key,
    )


def open_faces(
    manifest: Manifest,
    signature: Signature,
    *,
    copies: int = 1,
    augmentation: Augmentation = DEFAULT_AUGMENTATION,
    folder: Path | None = None,
) -> PixelCache:
    """`open_cache` with the preprocessing that a model's signature states."""
    return open_cache(
        manifest,
        signature.input_size,
        margin=signature.margin,
        alignment=signature.alignment,
        copies=copies,
        augmentation=augmentation,
        folder=folder,
    )


def open_near_duplicates(cache: PixelCache) -> NearDuplicates:
    """The near duplicates among the rows; the first call finds them, and later ones read them.

    See data.duplicates.find_near_duplicates. Raises DataError when the cache's folder cannot be written.
    """
    file = cache.file.parent / NEAR_FILE
    if not file.exists():
        thumbnails = np.load(cache.file.parent / THUMBNAILS_FILE)
        found = find_near_duplicates(thumbnails, cache.digests, progress=True)
        with atomic_path(file) as part, part.open("wb") as opened:
            np.savez(opened, pairs=found.pairs, likeness=found.likeness)
    with np.load(file) as stored:
        return NearDuplicates(stored["pairs"], stored["likeness"])


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
    need = len(manifest) * shape.copies * shape.size**2 * 3
    try:
        part.mkdir(parents=True)
        remove_leftovers(place.parent)
        if (free := shutil.disk_usage(part).free) < need * 1.05:
            raise DataError(
                f"The pixel cache needs {need / 1e9:.2f} GB; {part.parent} has {free / 1e9:.2f} GB free.",
                hint="Make room. Or name another folder with --cache-dir.",
            )
        _fill(manifest, shape, part, workers)
        part.replace(place)
    except OSError as error:
        if place.exists():  # another process built the same cache first
            return
        raise DataError(
            f"Cannot write the pixel cache in {place.parent}: {describe_cause(error)}.",
            hint="Make it a folder you may write to. Or name another one with --cache-dir.",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the parts that killed builds left: no build takes a day, so older parts have no process."""
    for part in folder.glob(f"*{PART}"):
        if time.time() - part.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def _fill(manifest: Manifest, shape: Shape, part: Path, workers: int) -> None:
    n = len(manifest)
    whole_shape = (shape.copies * n, shape.size, shape.size, 3)
    np.lib.format.open_memmap(part / PIXELS_FILE, mode="w+", dtype=np.uint8, shape=whole_shape).flush()
    files = manifest.files()
    tasks = [(part / PIXELS_FILE, start, files[start : start + CHUNK], shape) for start in range(0, n, CHUNK)]
    digests: list[NDArray[np.uint8]] = []
    thumbnails: list[Pixels] = []
    failed: dict[int, str] = {}
    for found, small, faults in track_progress(_map(tasks, workers), f"Caching {n:,} images", len(tasks)):
        digests.append(found)
        thumbnails.append(small)
        failed |= faults
    np.save(part / "digests.npy", np.concatenate(digests))
    np.save(part / THUMBNAILS_FILE, np.concatenate(thumbnails))
    (part / "failed.json").write_text(json.dumps(failed), encoding="utf-8")


Task = tuple[Path, int, list[Path], Shape]
Filled = tuple[NDArray[np.uint8], Pixels, dict[int, str]]


def _map(tasks: list[Task], workers: int) -> Iterator[Filled]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_fill_chunk, tasks)
        return
    with start_processes(min(workers, len(tasks)), __name__) as pool:
        yield from pool.map(_fill_chunk, tasks)


def _fill_chunk(task: Task) -> Filled:
    path, start, files, shape = task
    pixels = np.load(path, mmap_mode="r+")
    pixels = pixels.reshape(shape.copies, -1, *pixels.shape[1:])
    detector = YuNet() if shape.alignment else None
    digests = np.zeros((len(files), 16), dtype=np.uint8)
    thumbnails = np.zeros((len(files), SIDE, SIDE, 3), dtype=np.uint8)  # a failed row stays black
    failed: dict[int, str] = {}
    for i, file in enumerate(files):
        try:
            image = load_image(file)
        except ImageError as error:
            failed[start + i] = error.status
            digests[i] = np.frombuffer((start + i).to_bytes(16, "big"), dtype=np.uint8)  # unlike any other
            continue
        faces = find_faces(image, detector) if detector else []
        face = faces[0] if faces else whole_image(image)
        for copy in range(shape.copies):
            pixels[copy, start + i] = create_copy(
                image,
                face,
                copy,
                start + i,
                shape.size,
                margin=shape.margin,
                alignment=shape.alignment,
                augmentation=shape.augmentation or DEFAULT_AUGMENTATION,
            )
        digests[i] = np.frombuffer(pixel_digest(image), dtype=np.uint8)
        thumbnails[i] = create_thumbnail(image)
    return digests, thumbnails, failed
