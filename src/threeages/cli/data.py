"""Commands of a data set: import, merge, audit, split and the cache."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threeages.cli.options import (
    CacheFolder,
    Corrections,
    FoldCount,
    FoldNumber,
    ManifestFile,
    NameValue,
    OutFolder,
    RootFolder,
    SplitSeed,
    name_value_option,
)
from threeages.cli.review import review
from threeages.errors import MissingDependencyError, format_count
from threeages.files.disk import format_bytes

if TYPE_CHECKING:
    from threeages.data.stored.listed import Stored

LISTED = 20  # caches that are listed without --all
DIGEST_SIDE = 32  # pixels of the cached images; a split needs only the digests of the full ones

data_app = typer.Typer(no_args_is_help=True, help="Import, audit and split a data set.")
data_app.command()(review)


@data_app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="kaggle:owner/name, a zip or tar, a folder or a csv.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest csv to write.")] = Path("faces.csv"),
    identities: Annotated[
        Path | None, typer.Option(help="Csv with ID,identity (or ID,person) and other columns to join.")
    ] = None,
    bounds: Annotated[str, typer.Option(help="First year of YOUNG, MIDDLE, OLD.")] = "13,31,51",
    path_column: Annotated[str | None, typer.Option(help="Column of a csv that names the images.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of a csv that holds labels.")] = None,
    age_column: Annotated[
        str | None, typer.Option(help="Column of a csv that holds ages in years, or ranges of them.")
    ] = None,
    labels: Annotated[
        list[NameValue] | None,
        name_value_option("--map", "NAME=GROUP", "The group of a label or folder: Adult=MIDDLE; repeatable."),
    ] = None,
    root: RootFolder = None,
    children: Annotated[
        bool,
        typer.Option(
            "--children", help="Keep ages below YOUNG, without a label; a head for years trains on them."
        ),
    ] = False,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="The published set that a source is, where its files do not tell: portraits, fairface, "
            "lagenda, appa-real, imdb-clean, agedb or afad.",
        ),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            "--crops",
            help="Folder for the faces of photos that show several people: OUT-crops.",
        ),
    ] = None,
    corrections: Corrections = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Read a data set and write its manifest."""
    from threeages.cli.inputs import show_passed_over
    from threeages.data.columns import ColumnNames
    from threeages.data.importing.grouping import parse_mapping
    from threeages.data.importing.sources import import_source
    from threeages.errors import ConfigError
    from threeages.labels import AGE_GROUPS, UNKNOWN, AgeBounds

    try:
        young, middle, old = (float(part) for part in bounds.split(","))
    except ValueError as error:
        raise ConfigError(f"--bounds was '{bounds}'.", hint="Give three rising ages: 13,31,51.") from error
    result = import_source(
        source,
        out=out,
        identities=identities,
        bounds=AgeBounds(young, middle, old),
        columns=ColumnNames(path_column, label_column, age_column),
        mapping=parse_mapping(dict(labels or ())),
        root=root,
        children=children,
        layout=layout,
        crops=crops,
        corrections=corrections,
        cache_dir=cache_dir,
    )
    rows = result.manifest.labels
    counts = ", ".join(f"{name} {int((rows == i).sum()):,}" for i, name in enumerate(AGE_GROUPS))
    unlabelled = int((rows == UNKNOWN).sum())
    counts += f", no label {unlabelled:,}" if unlabelled else ""
    typer.echo(f"{out}: {format_count(len(result.manifest), 'row')} ({result.kind}): {counts}")
    for reason, count in result.excluded.items():
        typer.echo(f"  excluded: {reason} {count:,}")
    for note in result.notes:
        typer.echo(f"  {note}")
    show_passed_over(result.passed_over)


@data_app.command()
def merge(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests of different sets.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest csv to write.")],
    corrections: Corrections = None,
) -> None:
    """Join manifests, so that data sets with different labels train together.

    The column `source` of the result says which set a row is of: as its manifest states, else the name of its
    file.
    """
    from threeages.data.correcting import apply_corrections
    from threeages.data.manifest import load_manifest, save_manifest
    from threeages.data.merge import merge_manifests
    from threeages.data.terms import count_sources, find_terms

    parts = {path.stem: load_manifest(path, need_label=False) for path in manifests}
    merged = merge_manifests(parts)
    provenance: dict[str, Any] = {"sources": [str(path) for path in manifests]}
    corrected = apply_corrections(merged, corrections) if corrections else None
    if corrected:
        merged = corrected.manifest
        provenance["corrections"] = corrected.to_dict()
    save_manifest(merged, out, provenance=provenance)
    typer.echo(f"{out}: {format_count(len(merged), 'row')}")
    for note in corrected.notes() if corrected else ():
        typer.echo(f"  {note}")
    for name, part in parts.items():
        found = part.identities()
        known = "one identity per image"
        if found is not None:
            known = format_count(set(found.tolist()), "identity", "identities")
        typer.echo(f"  {name} {format_count(len(part), 'row')}, {known}")
    for source, count in count_sources(merged).items():
        terms = find_terms(source)
        typer.echo(f"  source {source} {format_count(count, 'row')}: {terms.use} ({terms.terms})")


@data_app.command()
def audit(manifest: ManifestFile, out: OutFolder = Path("audit"), root: RootFolder = None) -> None:
    """Find damaged images, exact and near duplicates, label conflicts and poor quality.

    Writes audit.json, audit.csv and a picture of the classes.
    """
    from threeages.cli.inputs import show_passed_over
    from threeages.data.audit import audit_manifest, write_audit
    from threeages.data.manifest import load_manifest

    found = audit_manifest(load_manifest(manifest, root=root, allow_empty=True))
    write_audit(found, out)
    show_passed_over(found.passed_over)
    for kind, count in found.counts().items():
        typer.echo(f"{kind:24} {count:>7,}")
    try:
        from threeages.evaluation.plots import plot_class_distribution, save_figure

        save_figure(plot_class_distribution(found.class_counts), out / "classes.png")
    except MissingDependencyError as error:
        typer.echo(f"No picture: {error}", err=True)
    typer.echo(f"Written to {out}")


@data_app.command()
def split(
    manifest: ManifestFile,
    mode: Annotated[str, typer.Option(help="random, identity or none.")] = "identity",
    fold: FoldNumber = 0,
    folds: FoldCount = 5,
    seed: SplitSeed = 42,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Show the train, validation and test rows, and how many duplicates leak from train to test.

    Near duplicates are compressed, resized, brightened, grey, mirrored or cropped copies.
    """
    from threeages.cli.output import print_notes
    from threeages.data.cache import open_cache, open_near_duplicates
    from threeages.data.checks import check_split, describe_ages, describe_groups
    from threeages.data.manifest import load_manifest
    from threeages.data.split import check_folds, create_split
    from threeages.data.split_notes import describe_leakage
    from threeages.labels import AGE_GROUPS

    check_folds(fold, folds)
    rows = load_manifest(manifest, root=root, allow_empty=True)
    check_split(rows, mode, fold=fold, folds=folds, seed=seed)  # type: ignore[arg-type]
    print_notes(describe_ages(rows))
    cache = open_cache(rows, DIGEST_SIDE, folder=cache_dir)
    parts = create_split(
        rows, cache.digests, mode, fold=fold, folds=folds, seed=seed,  # type: ignore[arg-type]
        near=open_near_duplicates(cache),
    )  # fmt: skip
    for name in ("train", "validation", "test"):
        labels = rows.labels[getattr(parts, name)]
        shares = ((labels == i).sum() / max(len(labels), 1) for i in range(len(AGE_GROUPS)))
        text = "  ".join(f"{group} {share:.4f}" for group, share in zip(AGE_GROUPS, shares, strict=True))
        typer.echo(f"{name:10} {len(labels):>7,} rows  {text}")
    for name in ("train", "validation", "test") if mode == "identity" else ("train", "test"):
        if len(side := getattr(parts, name)):
            where = f" of fold {fold}" if mode == "identity" else ""
            print_notes(describe_groups(rows.labels[side], f"{name} row{where}"))
    typer.echo(f"{parts.leaked_duplicates:,} test images are exact duplicates of train images (leakage)")
    typer.echo(f"{parts.leaked_near_duplicates:,} more are near duplicates of train images")
    if mode == "random":
        typer.echo("The validation rows are the test rows.")
    print_notes(describe_leakage(rows, parts, mode))


@data_app.command("cache")
def show_cache(
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete all of it that no process uses, unfinished parts included."),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help=f"List all, not the {LISTED} largest alone.")] = False,
    cache_dir: CacheFolder = None,
) -> None:
    """Show the size of cached pixels and features, and delete them with --clear; both can be recomputed."""
    from threeages.data.stored.listed import find_stored, remove_stored

    entries = find_stored(cache_dir)
    kept = remove_stored(entries) if clear else []
    _print_stored([stored for stored in entries if stored not in kept], every)
    _print_total(stored for stored in entries if stored not in kept)
    if clear:
        typer.echo("All of it is deleted.")
    if kept:
        typer.echo("Kept, because other processes use it:")
        _print_stored(kept, every)
        _print_total(kept)


def _print_stored(entries: "Sequence[Stored]", every: bool) -> None:
    """A line each of the largest entries, or of all, and one of the rest."""
    listed = entries if every else entries[:LISTED]
    for stored in listed:
        note = "  (unfinished)" if stored.unfinished else ""
        typer.echo(f"{format_bytes(stored.size):>10}  {stored.made}  {stored.path}{note}")
    if len(entries) > len(listed):
        rest = entries[len(listed) :]
        size = format_bytes(sum(stored.size for stored in rest))
        typer.echo(f"{size:>10}  in {len(rest):,} smaller ones; --all lists them")


def _print_total(entries: "Iterable[Stored]") -> None:
    typer.echo(f"{format_bytes(sum(stored.size for stored in entries)):>10}  in all")
