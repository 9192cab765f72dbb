"""Near duplicates of a data set: how many there are, how many are real, and which copies are found.

    python -m threeages.studies.near_duplicates film.csv --name film

Counts the pairs, samples some and correlates their pixels at a higher resolution than the search's, adds
copies of images to the set and counts those that are found. Writes results/near-duplicates.csv.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from threeages.data.cache import open_cache, open_near_duplicates
from threeages.data.duplicates import (
    SIDE,
    NearDuplicates,
    Pairs,
    create_thumbnail,
    find_near_duplicates,
    fit_windows,
    link_rows,
)
from threeages.data.manifest import Manifest, load_manifest
from threeages.data.split import create_split
from threeages.faces.images import Pixels, load_image
from threeages.studies.results import Row, create_parser, save_rows

SEED = 0
SIMILAR = 0.995  # similarity below which pairs are looked at by themselves
SAMPLE = 100  # pairs that are looked at in full resolution
CONFIRMED = 0.9  # correlation of 64x64 grey pixels
COPIES_EACH = 100
MIN_SIDE = 48  # pixels of an image that is copied
FOLDS = 5

COPIES: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "compressed, quality 50": lambda x, rng: _compress(x, 50),
    "half the size": lambda x, rng: _resize(x, 0.5),
    "half as bright": lambda x, rng: x // 2,
    "grey": lambda x, rng: np.repeat(_grey(x)[:, :, None], 3, axis=2),
    "mirrored": lambda x, rng: x[:, ::-1],
    "up to 12 % cropped at each edge": lambda x, rng: _crop(x, rng, 0.12),
    "up to 20 % cropped at each edge": lambda x, rng: _crop(x, rng, 0.20),
    "mirrored, 12 % cropped, quality 75": lambda x, rng: _compress(_crop(x[:, ::-1], rng, 0.12), 75),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, confirm and find near duplicates, and write the rows."""
    parser = create_parser(__doc__, Path("results/near-duplicates.csv"))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--name", required=True, help="name of the set in the csv")
    parser.add_argument("--cache-dir", type=Path, default=None)
    args = parser.parse_args(arguments)
    manifest = load_manifest(args.manifest, need_label=False)
    cache = open_cache(manifest, SIDE, folder=args.cache_dir)
    near = open_near_duplicates(cache)
    pairs = near.pairs
    rows = [
        *_count_rows(manifest, pairs),
        *_fold_rows(manifest, cache.digests, near),
        *_confirmed_rows(manifest, near),
        *_found_rows(manifest, cache.digests),
    ]
    common = {"set": args.name, "images": str(len(manifest)), "seed": str(SEED)}
    save_rows(args.out, [common | row for row in rows], ("set", "measure"))


def _row(measure: str, n: int, value: float) -> Row:
    return {"measure": measure, "n": str(n), "value": f"{value:g}"}


def _count_rows(manifest: Manifest, pairs: Pairs) -> list[Row]:
    """The pairs, those with different labels, and the sizes of what they link."""
    labels = manifest.labels[pairs]
    sizes = np.unique(link_rows(len(manifest), pairs), return_counts=True)[1]
    differ = (labels[:, 0] != labels[:, 1]) & (labels >= 0).all(axis=1)
    return [
        _row("pairs", len(pairs), len(pairs)),
        _row("pairs with different labels", len(pairs), int(differ.sum())),
        _row("linked sets", len(pairs), int((sizes > 1).sum())),
        _row("images of the largest linked set", len(pairs), int(sizes.max())),
    ]


def _fold_rows(manifest: Manifest, digests: NDArray[np.uint8], near: NearDuplicates) -> list[Row]:
    """Pairs that link identities, and the rows that change their test fold for it."""
    names = manifest.identities()
    if names is None or "" in names:
        return []
    found = names[near.pairs]
    before, after = (
        [create_split(manifest, digests, fold=fold, folds=FOLDS, near=given).test for fold in range(FOLDS)]
        for given in (None, near)
    )
    moved = sum(len(np.setdiff1d(a, b)) for a, b in zip(after, before, strict=True))
    random = create_split(manifest, digests, "random", near=near)
    return [
        _row("pairs of two identities", len(found), int((found[:, 0] != found[:, 1]).sum())),
        _row("rows moved to another fold", len(manifest), moved),
        _row("test rows of a random split with a near duplicate in training alone", len(random.test),
             random.leaked_near_duplicates),
    ]  # fmt: skip


def _confirmed_rows(manifest: Manifest, near: NearDuplicates) -> Iterator[Row]:
    """Pairs of a sample whose pixels correlate, and their lowest correlation; of less similar ones too."""
    parts = {"": near.pairs, f" with a similarity below {SIMILAR:g}": near.pairs[near.likeness < SIMILAR]}
    for suffix, pairs in parts.items():
        order = np.random.default_rng(SEED).permutation(len(pairs))[:SAMPLE]
        if not len(order):
            continue
        found = np.asarray([_correlate(manifest, pair) for pair in pairs[order]])
        confirmed, lowest = int((found >= CONFIRMED).sum()), round(float(found.min()), 3)
        yield _row(f"sampled pairs{suffix} with correlation {CONFIRMED:g} or more", len(found), confirmed)
        yield _row(f"lowest correlation of a sampled pair{suffix}", len(found), lowest)


def _correlate(manifest: Manifest, pair: NDArray[np.int64]) -> float:
    """Correlation of the grey pixels of a pair, the window of either image that fits better."""
    images = [load_image(manifest.files()[row]) for row in pair]
    thumbnails = np.stack([create_thumbnail(image) for image in images])
    windows, likeness = fit_windows(thumbnails, np.asarray([[0, 1], [1, 0]]))
    best = int(likeness.argmax())
    whole, copy = images[best], images[1 - best]
    y1, y2, x1, x2, mirrored = windows[best]
    height, width = whole.shape[:2]
    part = whole[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)]
    turned = copy[:, ::-1] if mirrored else copy
    return float(np.corrcoef(_small_grey(part), _small_grey(turned))[0, 1])


def _small_grey(pixels: Pixels) -> NDArray[np.float64]:
    small = cv2.resize(np.ascontiguousarray(pixels), (64, 64), interpolation=cv2.INTER_AREA)
    return _grey(np.asarray(small, dtype=np.uint8)).astype(np.float64).ravel()


def _found_rows(manifest: Manifest, digests: NDArray[np.uint8]) -> list[Row]:
    """How many added copies of each kind are linked with their originals."""
    rng = np.random.default_rng(SEED)
    chosen: list[int] = []
    copies: list[Pixels] = []
    files = manifest.files()
    kinds = [kind for kind in COPIES for _ in range(COPIES_EACH)]
    for row in rng.permutation(len(files)).tolist():
        pixels = load_image(files[row])
        if min(pixels.shape[:2]) >= MIN_SIDE:
            copies.append(create_thumbnail(np.ascontiguousarray(COPIES[kinds[len(copies)]](pixels, rng))))
            chosen.append(row)
        if len(copies) == len(kinds):
            break
    thumbnails = np.stack([*(create_thumbnail(load_image(file)) for file in files), *copies])
    new = rng.integers(0, 256, (len(copies), digests.shape[1]), dtype=np.uint8)
    pairs = find_near_duplicates(thumbnails, np.concatenate([digests, new])).pairs
    roots = link_rows(len(thumbnails), pairs)
    first = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    origin = first[1][first[2].reshape(-1)]  # the row that stands for its exact duplicates
    found = roots[origin[chosen]] == roots[len(files) :]
    return [
        _row(f"copies found: {kind}", COPIES_EACH, int(found[[k == kind for k in kinds[: len(found)]]].sum()))
        for kind in COPIES
    ]


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _resize(pixels: Pixels, scale: float) -> Pixels:
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _compress(pixels: Pixels, quality: int) -> Pixels:
    data = cv2.imencode(".jpg", np.ascontiguousarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def _crop(pixels: Pixels, rng: np.random.Generator, most: float) -> Pixels:
    """The image without up to this share of its side at each edge."""
    height, width = pixels.shape[:2]
    top, bottom, left, right = rng.uniform(0, most, 4)
    return pixels[
        int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)
    ]


if __name__ == "__main__":
    main()
