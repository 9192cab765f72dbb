"""Findings about a manifest's images: damage, exact and near duplicates, label conflicts, poor quality."""

import os
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.data.duplicates import create_thumbnail, find_near_duplicates, link_rows
from threeages.data.manifest import Manifest
from threeages.errors import DataError, ImageError
from threeages.faces.folders import find_images
from threeages.faces.images import Pixels, load_image, pixel_digest
from threeages.files.csvfiles import write_rows
from threeages.files.writing import write_json
from threeages.labels import AGE_GROUPS, UNKNOWN
from threeages.processes import start_processes
from threeages.progress import track_progress

MIN_SIDE = 32  # pixels of the shorter side; a smaller face shows little of its age
MAX_ASPECT = 2.0  # longer side over shorter side; a face crop lies near 1.3
SHARPNESS_SIDE = 64  # pixels; sharpness is measured at one size, so that large and small images compare
MIN_SHARPNESS = 25.0  # variance of the Laplacian at that size; only the softest film faces lie below
MIN_BRIGHTNESS = 40.0  # mean grey, of 0 to 255
MIN_COLOR_SPREAD = 4  # largest difference between the channels of a pixel; JPEG rounding leaves up to 3
_PARALLEL_FROM = 512  # images; below it, starting processes costs more than it saves


@dataclass(frozen=True)
class Finding:
    """One finding about one image; `kind` is an image status or the name of a check."""

    kind: str
    path: str
    detail: str


@dataclass(frozen=True)
class Audit:
    """Everything found in one pass over the images.

    Duplicates and conflicts are tuples of paths in manifest order. A conflict is a set of exact or near
    duplicates with more than one label. `resolution` holds min, max, mean and median of `width` and `height`
    in pixels over the readable images. `passed_over` counts files beside them that are no images, by kind.
    """

    images: int
    readable: int
    class_counts: dict[str, int]
    resolution: dict[str, dict[str, float]]
    exact_duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, ...], ...]
    label_conflicts: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]
    passed_over: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """Number of findings of each kind, most frequent first; every image of a duplicate counts."""
        return dict(Counter(f.kind for f in self.findings).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the single findings, which the csv holds."""
        return {
            "images": self.images,
            "readable": self.readable,
            "class_counts": self.class_counts,
            "resolution": self.resolution,
            "counts": self.counts(),
            "exact_duplicates": [list(paths) for paths in self.exact_duplicates],
            "near_duplicates": [list(paths) for paths in self.near_duplicates],
            "label_conflicts": [list(paths) for paths in self.label_conflicts],
        }


@dataclass(frozen=True)
class _Measured:
    """What the checks need of one decoded image; the digest names its exact pixels."""

    width: int
    height: int
    digest: bytes
    thumbnail: Pixels
    sharpness: float
    brightness: float
    spread: int


@dataclass(frozen=True)
class _Unreadable:
    """Why an image could not be decoded."""

    status: str
    message: str


def audit_manifest(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Audit:
    """Read every image of a manifest once and report what is wrong; no image is changed.

    `workers` processes share the work, one per core by default; a script that calls this needs the usual
    `if __name__ == "__main__":`. `progress` shows a bar on stderr. Raises DataError where the manifest has no
    rows.
    """
    if not len(manifest):
        raise DataError("The manifest has no rows to audit.", hint="Import a data set first.")
    readable: dict[int, _Measured] = {}
    findings: list[Finding] = []
    # closed: an exception in the loop ends the processes at once
    with closing(_measure_all(manifest.files(), workers or os.cpu_count() or 1, progress)) as measured:
        for row, found in enumerate(measured):
            if isinstance(found, _Unreadable):
                findings.append(Finding(found.status, manifest.paths[row], found.message))
            else:
                readable[row] = found
                findings.extend(Finding(k, manifest.paths[row], d) for k, d in _check_quality(found))
    exact = _find_exact(readable)
    near = _find_near_sets(readable, progress)
    conflicts = _find_conflicts(exact, near, manifest.labels)
    for kind, sets in (("exact_duplicate", exact), ("near_duplicate", near), ("label_conflict", conflicts)):
        findings.extend(_list_findings(kind, sets, manifest))
    passed_over: Counter[str] = Counter()
    findings.extend(_extra_files(manifest, passed_over))
    return Audit(
        images=len(manifest),
        readable=len(readable),
        class_counts=_class_counts(manifest),
        resolution=_resolution(readable.values()),
        exact_duplicates=_named(exact, manifest),
        near_duplicates=_named(near, manifest),
        label_conflicts=_named(conflicts, manifest),
        findings=tuple(findings),
        passed_over=passed_over,
    )


def write_audit(audit: Audit, out: Path) -> None:
    """Write `audit.json` (summary, duplicates, conflicts) and `audit.csv` (a row a finding) into `out`."""
    write_json(out / "audit.json", audit.to_dict())
    write_rows(out / "audit.csv", map(vars, audit.findings), ("kind", "path", "detail"))


def _measure_all(
    files: list[Path], workers: int, progress: bool
) -> Generator[_Measured | _Unreadable, None, None]:
    def bar(results: Iterable[_Measured | _Unreadable]) -> Iterable[_Measured | _Unreadable]:
        return track_progress(results, "Reading images", len(files)) if progress else results

    if workers == 1 or len(files) < _PARALLEL_FROM:
        yield from bar(map(_measure_file, files))
        return
    with start_processes(workers, __name__) as pool:
        yield from bar(pool.map(_measure_file, files, chunksize=64))


def _measure_file(path: Path) -> _Measured | _Unreadable:
    try:
        pixels = load_image(path)
    except ImageError as error:
        return _Unreadable(error.status, error.message)
    return _measure(pixels)


def _measure(pixels: Pixels) -> _Measured:
    height, width = pixels.shape[:2]
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    small = cv2.resize(grey, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(pixels)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    return _Measured(
        width=width,
        height=height,
        digest=pixel_digest(pixels),
        thumbnail=create_thumbnail(pixels),
        sharpness=float(cv2.Laplacian(small, cv2.CV_32F).var()),
        brightness=float(grey.mean()),
        spread=int(spread.max()),
    )


def _check_quality(image: _Measured) -> Iterator[tuple[str, str]]:
    """Kind and detail of every check that the image fails."""
    sides = sorted((image.width, image.height))
    if sides[0] < MIN_SIDE:
        yield "tiny", f"{image.width}x{image.height} pixels"
    if sides[1] > MAX_ASPECT * sides[0]:
        yield "odd_aspect", f"{image.width}x{image.height} pixels"
    if image.sharpness < MIN_SHARPNESS:
        yield "low_sharpness", f"Laplacian variance {image.sharpness:.1f}"
    if image.brightness < MIN_BRIGHTNESS:
        yield "dark", f"mean grey {image.brightness:.1f} of 255"
    if image.spread < MIN_COLOR_SPREAD:
        yield "grey", f"channels differ by at most {image.spread}"


def _find_exact(images: dict[int, _Measured]) -> list[list[int]]:
    """Rows with identical pixels, two or more in each list."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, image in images.items():
        rows_of[image.digest].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _find_near_sets(images: dict[int, _Measured], progress: bool) -> list[list[int]]:
    """Rows linked by near duplicates, two or more in each list; exact duplicates of those are among them."""
    if not images:
        return []
    measured = list(images.values())
    digests = np.stack([np.frombuffer(image.digest, dtype=np.uint8) for image in measured])
    thumbnails = np.stack([image.thumbnail for image in measured])
    pairs = find_near_duplicates(thumbnails, digests, progress=progress).pairs
    near = set(pairs.ravel().tolist())
    first = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    origin = first[1][first[2].reshape(-1)]  # the first row with the same pixels
    linked: dict[int, list[int]] = defaultdict(list)
    for row, start, root in zip(images, origin, link_rows(len(measured), pairs)[origin], strict=True):
        if int(start) in near:
            linked[int(root)].append(row)
    return sorted(linked.values())


def _find_conflicts(
    exact: list[list[int]], near: list[list[int]], labels: NDArray[np.int64]
) -> list[list[int]]:
    """Sets with more than one known label, each row in one set."""
    found = [rows for rows in near if len(set(labels[rows].tolist()) - {UNKNOWN}) > 1]
    listed = {row for rows in found for row in rows}
    found += [
        rows for rows in exact if rows[0] not in listed and len(set(labels[rows].tolist()) - {UNKNOWN}) > 1
    ]
    return sorted(found)


def _named(sets: list[list[int]], manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(manifest.paths[row] for row in rows) for rows in sets)


def _list_findings(kind: str, sets: list[list[int]], manifest: Manifest) -> Iterator[Finding]:
    for number, rows in enumerate(sets, start=1):
        for row in rows:
            label = _label_name(int(manifest.labels[row]))
            yield Finding(kind, manifest.paths[row], f"set {number} of {len(rows)} images, label {label}")


def _label_name(label: int) -> str:
    return AGE_GROUPS[label] if label != UNKNOWN else "unknown"


def _extra_files(manifest: Manifest, passed_over: Counter[str]) -> Iterator[Finding]:
    """Images beside those of the manifest that no row names; files that are no images count by kind."""
    files = manifest.files()
    listed = set(files)
    for folder in sorted({file.parent for file in files if file.parent.is_dir()}):
        found = find_images(folder, depth=0)
        passed_over += found.passed_over()
        for file in found.images:
            if file not in listed:
                path = file.relative_to(manifest.root).as_posix()
                yield Finding("extra_file", path, "in the folder, not in the manifest")


def _class_counts(manifest: Manifest) -> dict[str, int]:
    counts = {name: int((manifest.labels == i).sum()) for i, name in enumerate(AGE_GROUPS)}
    unknown = int((manifest.labels == UNKNOWN).sum())
    return counts | ({"unknown": unknown} if unknown else {})


def _resolution(images: Iterable[_Measured]) -> dict[str, dict[str, float]]:
    sizes = np.asarray([(image.width, image.height) for image in images], dtype=np.float64)
    if not len(sizes):
        return {}
    return {side: _stats(sizes[:, i]) for i, side in enumerate(("width", "height"))}


def _stats(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": round(float(values.mean()), 2),
        "median": float(np.median(values)),
    }
