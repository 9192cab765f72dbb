"""What is wrong with the images of a manifest: damage, duplicates, label conflicts, poor quality."""

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from threeages.data.manifest import Manifest
from threeages.data.processes import start_processes
from threeages.errors import DataError, ImageError
from threeages.faces.images import SUFFIXES, Pixels, load_image, pixel_digest
from threeages.files import atomic_path
from threeages.labels import AGE_GROUPS, UNKNOWN

TINY_SIDE = 32  # pixels; below it a face holds little of what tells an age
ODD_ASPECT = 2.0  # longer side over shorter side; a face crop lies near 1.3
BLUR_SIDE = 64  # the side at which sharpness is measured, so that large and small images compare
BLURRED = 25.0  # variance of the Laplacian at that side; the median of the film faces is 198, 2 % lie below
DARK = 40.0  # mean grey of 0-255
GREY_SPREAD = 4  # largest difference between the channels of one pixel; JPEG rounding leaves up to 3
NEAR_BITS = 2  # of 64 bits of the difference hash
_BANDS = ((0, 22), (22, 21), (43, 21))  # first bit, width: NEAR_BITS + 1 bands, so near hashes share one
_BLOCK = 512  # rows compared at a time, which bounds the memory of a crowded band
_SERIAL_BELOW = 512  # images; starting processes costs more than it saves


@dataclass(frozen=True)
class Finding:
    """One fault of one image; `kind` is an image status or the name of a check."""

    kind: str
    path: str
    detail: str


@dataclass(frozen=True)
class Audit:
    """Everything found in one pass; groups are tuples of paths in manifest order.

    `resolution` holds min, max, mean and median of `width` and `height` in pixels over the readable images.
    """

    images: int
    readable: int
    class_counts: dict[str, int]
    resolution: dict[str, dict[str, float]]
    exact_duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, ...], ...]
    label_conflicts: tuple[tuple[str, ...], ...]
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, int]:
        """Number of findings of each kind, most frequent first; duplicates count images, not groups."""
        return dict(Counter(f.kind for f in self.findings).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the summary and the groups; single findings stand in the csv."""
        return {
            "images": self.images,
            "readable": self.readable,
            "class_counts": self.class_counts,
            "resolution": self.resolution,
            "counts": self.counts(),
            "exact_duplicates": [list(group) for group in self.exact_duplicates],
            "near_duplicates": [list(group) for group in self.near_duplicates],
            "label_conflicts": [list(group) for group in self.label_conflicts],
        }


@dataclass(frozen=True)
class _Look:
    """What one decoded image shows."""

    width: int
    height: int
    digest: bytes
    hash: int
    sharpness: float
    brightness: float
    spread: int


@dataclass(frozen=True)
class _Fault:
    """Why an image could not be decoded."""

    status: str
    message: str


def audit(manifest: Manifest, *, workers: int | None = None, progress: bool = True) -> Audit:
    """Read every image once and report its faults; images are never changed.

    `workers` processes (default: one per core) share the work; a script that calls this needs the
    usual `if __name__ == "__main__":`. Raises DataError where the manifest has no rows.
    """
    if not len(manifest):
        raise DataError("The manifest has no rows to audit.", hint="Import a data set first.")
    looks: dict[int, _Look] = {}
    findings: list[Finding] = []
    for row, seen in enumerate(_inspect_all(manifest.files(), workers or os.cpu_count() or 1, progress)):
        if isinstance(seen, _Fault):
            findings.append(Finding(seen.status, manifest.paths[row], seen.message))
        else:
            looks[row] = seen
            findings.extend(Finding(k, manifest.paths[row], detail) for k, detail in _quality(seen))
    exact = _group(looks, lambda look: look.digest)
    near = _near_groups(looks)
    conflicts = [g for g in exact if len({int(v) for v in manifest.labels[g] if v != UNKNOWN}) > 1]
    for kind, groups in (("exact_duplicate", exact), ("near_duplicate", near), ("label_conflict", conflicts)):
        findings.extend(_group_findings(kind, groups, manifest))
    findings.extend(_extra_files(manifest))
    return Audit(
        images=len(manifest),
        readable=len(looks),
        class_counts=_class_counts(manifest),
        resolution=_resolution(looks.values()),
        exact_duplicates=_named(exact, manifest),
        near_duplicates=_named(near, manifest),
        label_conflicts=_named(conflicts, manifest),
        findings=tuple(findings),
    )


def write_audit(audit: Audit, out: Path) -> None:
    """Write `audit.json` (summary and groups) and `audit.csv` (a row per finding) into the folder `out`."""
    with atomic_path(out / "audit.json") as part:
        part.write_text(json.dumps(audit.to_dict(), indent=2) + "\n", encoding="utf-8")
    with atomic_path(out / "audit.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "path", "detail"])
        writer.writerows((f.kind, f.path, f.detail) for f in audit.findings)


def difference_hash(grey: NDArray[np.uint8]) -> int:
    """64 bits of a grey image `(height, width)`: is each cell of an 8x9 grid darker than its right neighbour?

    Scaling, mild compression and brightness leave it nearly unchanged.
    """
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes(), "big")


def find_near(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Pairs of indices of distinct uint64 hashes `(n,)` that differ in at most NEAR_BITS bits.

    Two such hashes agree wholly in one of NEAR_BITS + 1 bands, so only hashes that share a band are compared.
    """
    pairs: set[tuple[int, int]] = set()
    for first, width in _BANDS:
        keys = (hashes >> np.uint64(first)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, starts):
            if len(bucket) > 1:
                pairs.update(_near_in(hashes, bucket))
    return sorted(pairs)


def _near_in(hashes: NDArray[np.uint64], bucket: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    values = hashes[bucket]
    for start in range(0, len(bucket), _BLOCK):
        apart = values[start : start + _BLOCK, None] ^ values[None, :]
        for _ in range(NEAR_BITS):
            apart &= apart - np.uint64(1)  # clears the lowest set bit
        rows, columns = np.nonzero(apart == 0)
        later = columns > rows + start
        for i, j in zip(bucket[rows[later] + start].tolist(), bucket[columns[later]].tolist(), strict=True):
            yield min(i, j), max(i, j)


def _inspect_all(files: list[Path], workers: int, progress: bool) -> Iterator[_Look | _Fault]:
    def bar(results: Iterable[_Look | _Fault]) -> Iterable[_Look | _Fault]:
        console = Console(stderr=True)
        return track(results, "Reading images", total=len(files), console=console, disable=not progress)

    if workers == 1 or len(files) < _SERIAL_BELOW:
        yield from bar(map(_inspect, files))
        return
    with start_processes(workers, __name__) as pool:
        yield from bar(pool.map(_inspect, files, chunksize=64))


def _inspect(path: Path) -> _Look | _Fault:
    try:
        pixels = load_image(path)
    except ImageError as error:
        return _Fault(error.status, error.message)
    return _look(pixels)


def _look(pixels: Pixels) -> _Look:
    height, width = pixels.shape[:2]
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    small = cv2.resize(grey, (BLUR_SIDE, BLUR_SIDE), interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(pixels)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    return _Look(
        width=width,
        height=height,
        digest=pixel_digest(pixels),
        hash=difference_hash(grey),
        sharpness=float(cv2.Laplacian(small, cv2.CV_32F).var()),
        brightness=float(grey.mean()),
        spread=int(spread.max()),
    )


def _quality(look: _Look) -> Iterator[tuple[str, str]]:
    sides = sorted((look.width, look.height))
    if sides[0] < TINY_SIDE:
        yield "tiny", f"{look.width}x{look.height} pixels"
    if sides[1] > ODD_ASPECT * sides[0]:
        yield "odd_aspect", f"{look.width}x{look.height} pixels"
    if look.sharpness < BLURRED:
        yield "blurred", f"Laplacian variance {look.sharpness:.1f}"
    if look.brightness < DARK:
        yield "dark", f"mean grey {look.brightness:.1f} of 255"
    if look.spread < GREY_SPREAD:
        yield "grey", f"channels differ by at most {look.spread}"


def _group(looks: dict[int, _Look], key: Callable[[_Look], bytes | int]) -> list[list[int]]:
    groups: dict[bytes | int, list[int]] = defaultdict(list)
    for row, look in looks.items():
        groups[key(look)].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _near_groups(looks: dict[int, _Look]) -> list[list[int]]:
    """Clusters linked by near hashes; a cluster of nothing but exact duplicates is left to those."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, look in looks.items():
        rows_of[look.hash].append(row)
    parent = list(range(len(rows_of)))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in find_near(np.asarray(list(rows_of), dtype=np.uint64)):
        parent[top(j)] = top(i)
    clusters: dict[int, list[int]] = defaultdict(list)
    for i, rows in enumerate(rows_of.values()):
        clusters[top(i)].extend(rows)
    several = [sorted(rows) for rows in clusters.values() if len({looks[r].digest for r in rows}) > 1]
    return sorted(several)


def _named(groups: list[list[int]], manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(manifest.paths[row] for row in rows) for rows in groups)


def _group_findings(kind: str, groups: list[list[int]], manifest: Manifest) -> Iterator[Finding]:
    for number, rows in enumerate(groups, start=1):
        for row in rows:
            label = _label_name(int(manifest.labels[row]))
            yield Finding(kind, manifest.paths[row], f"group {number} of {len(rows)} images, label {label}")


def _label_name(label: int) -> str:
    return AGE_GROUPS[label] if label != UNKNOWN else "unknown"


def _extra_files(manifest: Manifest) -> Iterator[Finding]:
    files = manifest.files()
    listed = set(files)
    for folder in sorted({file.parent for file in files}):
        if not folder.is_dir():
            continue
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file not in listed:
                path = file.relative_to(manifest.root).as_posix()
                yield Finding("extra_file", path, "in the folder, not in the manifest")


def _class_counts(manifest: Manifest) -> dict[str, int]:
    counts = {name: int((manifest.labels == i).sum()) for i, name in enumerate(AGE_GROUPS)}
    unknown = int((manifest.labels == UNKNOWN).sum())
    return counts | ({"unknown": unknown} if unknown else {})


def _resolution(looks: Iterable[_Look]) -> dict[str, dict[str, float]]:
    sizes = np.asarray([(look.width, look.height) for look in looks], dtype=np.float64)
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
