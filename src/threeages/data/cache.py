"""The pixel cache: every image decoded once, resized, uint8, memory-mapped."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threeages.data.augment import create_copy
from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.data.duplicates import SIDE, NearDuplicates, create_thumbnail, find_near_duplicates
from threeages.data.manifest import Manifest
from threeages.data.stored.opening import NEAR, PIXELS, PIXELS_FOLDER, open_stored
from threeages.data.stored.partial import Chunks, Note, Rows, fill_rows
from threeages.errors import DataError, ImageError
from threeages.faces.crop import whole_image
from threeages.faces.detect import find_faces
from threeages.faces.images import load_image, pixel_digest
from threeages.faces.yunet import YuNet
from threeages.files.writing import write_json
from threeages.processes import start_processes
from threeages.signature import Signature

VERSION = 4  # raise it when decoding, resizing or an augmentation changes, so that no stale pixels are used
CHUNK = 64  # images a task: long enough to hide its start, short enough to lose little when it is stopped

PIXELS_FILE, DIGESTS_FILE, THUMBNAILS_FILE = "pixels.npy", "digests.npy", "thumbnails.npy"
FAILED_FILE = "failed.json"
PAIRS_FILE, LIKENESS_FILE = "pairs.npy", "likeness.npy"


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

    The cache's folder is named by a digest of every path, file size and time of change, and of the settings
    (data.stored). It is filled by worker processes: a script that calls this needs the usual
    `if __name__ == "__main__":`. Raises DataError when the disk cannot hold it, and when the system ends a
    worker; the images that were read by then are kept, and the next call resumes with the others.
    """
    shape = Shape(size, margin if alignment else 0.0, alignment, copies, augmentation if copies > 1 else None)
    place = (folder or PIXELS_FOLDER) / f"{PIXELS}{_digest(manifest, shape)}"
    entry = open_stored(place, lambda part: _build(manifest, shape, part, workers or os.cpu_count() or 1))
    digests = entry.load_array(DIGESTS_FILE)
    key = digests.tobytes() * copies + (b"" if shape.augmentation is None else repr(augmentation).encode())
    return PixelCache(
        place / PIXELS_FILE,
        entry.map_array(PIXELS_FILE),
        digests,
        {int(row): status for row, status in entry.load_json(FAILED_FILE).items()},
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
    key = hashlib.blake2b(f"{VERSION}:".encode() + cache.digests.tobytes(), digest_size=12).hexdigest()
    entry = open_stored(cache.file.parent.with_name(NEAR + key), lambda part: _build_near(cache, part))
    return NearDuplicates(entry.load_array(PAIRS_FILE), entry.load_array(LIKENESS_FILE))


def load_thumbnails(cache: PixelCache) -> NDArray[np.uint8]:
    """Thumbnails of the whole images, uint8 `(n, SIDE, SIDE, 3)`, memory-mapped; zeros where one failed."""
    return np.asarray(np.load(cache.file.parent / THUMBNAILS_FILE, mmap_mode="r"))


def _build_near(cache: PixelCache, part: Path) -> None:
    found = find_near_duplicates(load_thumbnails(cache), cache.digests, progress=True)
    np.save(part / PAIRS_FILE, found.pairs)
    np.save(part / LIKENESS_FILE, found.likeness)


def _digest(manifest: Manifest, shape: Shape) -> str:
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


def _build(manifest: Manifest, shape: Shape, part: Path, workers: int) -> None:
    files = manifest.files()
    n = len(files)
    arrays = {
        PIXELS_FILE: (np.uint8, (shape.copies * n, shape.size, shape.size, 3)),
        DIGESTS_FILE: (np.uint8, (n, 16)),
        THUMBNAILS_FILE: (np.uint8, (n, SIDE, SIDE, 3)),
    }

    def fill(part: Path, starts: Sequence[int]) -> Chunks:
        return _map([(part, start, files[start : start + CHUNK], shape) for start in starts], workers)

    failed: Note = {}
    for note in fill_rows(part, Rows(n, CHUNK, arrays), fill, f"Caching {n:,} images"):
        failed |= note
    write_json(part / FAILED_FILE, failed)


Task = tuple[Path, int, list[Path], Shape]


def _map(tasks: list[Task], workers: int) -> Chunks:
    """The first row of every task, once it is done, and the images of it that failed, by row."""
    if workers == 1 or len(tasks) <= 1:
        yield from map(_fill_chunk, tasks)
        return
    with start_processes(min(workers, len(tasks)), __name__) as pool:
        futures = [pool.submit(_fill_chunk, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except MemoryError as error:
            raise DataError(
                "A process that read images ran out of memory.",
                hint="Close other programs and start the same command again: what was finished is kept.",
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _fill_chunk(task: Task) -> tuple[int, Note]:
    part, start, files, shape = task
    pixels, digests, thumbnails = (
        np.load(part / name, mmap_mode="r+") for name in (PIXELS_FILE, DIGESTS_FILE, THUMBNAILS_FILE)
    )
    pixels = pixels.reshape(shape.copies, -1, *pixels.shape[1:])
    detector = _open_detector() if shape.alignment else None
    failed: Note = {}
    for row, file in enumerate(files, start):
        try:
            image = load_image(file)
        except ImageError as error:
            failed[str(row)] = error.status
            digests[row] = np.frombuffer(row.to_bytes(16, "big"), dtype=np.uint8)  # unlike any other
            pixels[:, row] = thumbnails[row] = 0
            continue
        faces = find_faces(image, detector) if detector else []
        face = faces[0] if faces else whole_image(image)
        for copy in range(shape.copies):
            pixels[copy, row] = create_copy(
                image,
                face,
                copy,
                row,
                shape.size,
                margin=shape.margin,
                alignment=shape.alignment,
                augmentation=shape.augmentation or DEFAULT_AUGMENTATION,
            )
        digests[row] = np.frombuffer(pixel_digest(image), dtype=np.uint8)
        thumbnails[row] = create_thumbnail(image)
    return start, failed


@cache
def _open_detector() -> YuNet:
    """One for all chunks of a process."""
    return YuNet()
