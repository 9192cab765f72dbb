"""What a split of a set leaks, and how far the estimate of identities from faces can be trusted.

    threeages data import FACES --identities FACES/train_people.csv --out faces.csv
    python -m threeages.studies.leakage faces.csv --name film --face-model FILE

Writes results/leakage.csv: a row for every share and answer under the random split, and for the estimate at
several similarities; its false alarms are the share of the test rows of an identity-disjoint split that it
says have their person in train.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from threeages.data.cache import load_thumbnails, open_cache, open_near_duplicates
from threeages.data.leakage.embedder import FACE_SIDE, FaceEmbedder
from threeages.data.leakage.embeddings import open_embeddings
from threeages.data.leakage.sides import Sides, choose_columns, create_sides, name_identities
from threeages.data.manifest import IDENTITY, Manifest, load_manifest
from threeages.evaluation.age_blind import answer_majority
from threeages.evaluation.gap import Pictures
from threeages.evaluation.identity_estimate import LIKELY, find_likely, measure_estimate
from threeages.evaluation.leakage import LeakageReport, audit_leakage
from threeages.labels import UNKNOWN
from threeages.studies.results import Row, create_parser, save_rows

SEED = 42  # that of the reference study's random split
SMALL_SIDE = 32  # pixels of the cached images where no faces are compared
THRESHOLDS = (0.4, 0.5, LIKELY)


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit the random split of a manifest, measure the estimate and write the rows."""
    parser = create_parser(__doc__, Path("results/leakage.csv"))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--name", required=True, help="name of the set in the csv")
    parser.add_argument("--only", help="COLUMN=VALUE of the rows that are taken")
    parser.add_argument("--every", type=int, default=1, help="take every n-th row")
    parser.add_argument("--face-model", type=Path, help="file of SFace; without it no faces are compared")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--cache-dir", type=Path)
    args = parser.parse_args(arguments)
    manifest = _select(load_manifest(args.manifest, root=args.root, need_label=False), args)
    pictures = _read_pictures(manifest, args)
    sides = create_sides(manifest, pictures.digests, "random", seed=SEED, near=pictures.near)
    within = choose_columns(manifest.columns, None)
    report = audit_leakage(manifest, sides, pictures, within=within, seed=SEED)
    rows = [*_list_shares(report), *_list_answers(report), *_list_in_sample(manifest, within),
            *_list_estimates(manifest, sides, pictures)]  # fmt: skip
    common = {"set": args.name, "images": str(len(manifest)), "split": "random", "seed": str(SEED)}
    columns = dict.fromkeys(("measure", "n", "value", "low", "high"), "")
    save_rows(args.out, [common | columns | row for row in rows], ("set", "images", "measure"))


def _select(manifest: Manifest, args: argparse.Namespace) -> Manifest:
    rows = np.arange(len(manifest))
    if args.only:
        column, _, value = args.only.partition("=")
        rows = np.flatnonzero(np.asarray(manifest.columns[column]) == value)
    return manifest.select(rows[:: args.every])


def _read_pictures(manifest: Manifest, args: argparse.Namespace) -> Pictures:
    if args.face_model is None:
        cache = open_cache(manifest, SMALL_SIDE, folder=args.cache_dir)
        return Pictures(load_thumbnails(cache), cache.digests, open_near_duplicates(cache))
    cache = open_cache(manifest, FACE_SIDE, alignment=1.0, folder=args.cache_dir)
    faces = open_embeddings(cache, FaceEmbedder(args.face_model))
    return Pictures(load_thumbnails(cache), cache.digests, open_near_duplicates(cache), faces)


def _row(measure: str, n: int, value: float, bounds: tuple[float, float] | None = None) -> Row:
    found = {"measure": measure, "n": str(n), "value": f"{value:.5f}"}
    return (
        found
        if bounds is None
        else found
        | dict(zip(("low", "high"), (f"{b:.4f}" if math.isfinite(b) else "" for b in bounds), strict=True))
    )


def _list_shares(report: LeakageReport) -> Iterator[Row]:
    exact = sum(copy.kind == "exact" for copy in report.copies)
    yield _row("test rows with an exact copy in train", report.n_test, exact)
    yield _row("test rows with a near copy alone in train", report.n_test, len(report.copies) - exact)
    for shared in report.shared:
        yield _row(f"share of test rows with the {shared.column} in train", shared.n, shared.share)
    if report.estimate:
        yield _row("share of test rows with a likely person in train", report.n_test, report.estimate.share)


def _list_answers(report: LeakageReport) -> Iterator[Row]:
    for answer in report.answers:
        yield _row(f"accuracy: {answer.name}", report.n_test, answer.accuracy, answer.interval)
        if answer.apart is not None and answer.gap is not None:
            yield _row(f"identities apart: {answer.name}", report.n_test, answer.apart, answer.apart_interval)
            yield _row(f"gap: {answer.name}", report.n_test, answer.gap, answer.gap_interval)


def _list_in_sample(manifest: Manifest, within: Sequence[str]) -> Iterator[Row]:
    """The majorities when every row counts in its own answer too, as the set's description quotes them."""
    if name_identities(manifest) is None:
        return
    rows = np.flatnonzero(manifest.labels != UNKNOWN)
    for columns in ((IDENTITY,), *((IDENTITY, column) for column in within)):
        keys = [np.asarray(manifest.columns[column]) for column in columns]
        answers = answer_majority(keys, manifest.labels, rows, rows).argmax(axis=1)
        hits = answers == manifest.labels[rows]
        yield _row(f"accuracy in sample: majority per {' and '.join(columns)}", len(rows), float(hits.mean()))


def _list_estimates(manifest: Manifest, sides: Sides, pictures: Pictures) -> Iterator[Row]:
    named = name_identities(manifest)
    if named is None or pictures.embeddings is None:
        return
    names = np.asarray(named.columns[IDENTITY])
    apart = create_sides(named, pictures.digests, "identity", seed=SEED, near=pictures.near)
    for threshold in THRESHOLDS:
        found = measure_estimate(pictures.embeddings, names, sides.train, sides.test, threshold)
        for measure, value in vars(found).items():
            yield _row(f"estimate at {threshold:g}: {measure}", len(sides.test), value)
        likely = find_likely(pictures.embeddings, apart.train, apart.test, threshold)[0]
        yield _row(f"estimate at {threshold:g}: false_alarms", len(apart.test), float(likely.mean()))


if __name__ == "__main__":
    main()
