"""Commands of the studies: the reference study, the search and ensembles."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from threeages.cli.options import CacheFolder, ManifestFile, Only, OutFolder, RootFolder, parse_pair
from threeages.cli.output import print_evaluation, print_rows


def ensemble(
    manifest: ManifestFile,
    runs: Annotated[list[Path], typer.Argument(help="Run folders that held out the same rows.")],
    out: OutFolder,
    views: Annotated[
        str, typer.Option(help="Of each face, by commas: plain, mirrored, whole, whole-mirrored.")
    ] = "plain,mirrored",
    only: Only = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Judge runs together on the rows they held out: the mean of their answers over views of a face."""
    from threeages.data.manifest import load_manifest
    from threeages.evaluation.report import write_report
    from threeages.studies.ensemble import ask_together

    rows = load_manifest(manifest, root=root, need_label=False)
    table = ask_together(
        rows, runs, views.split(","), only=parse_pair(only) if only else None, cache_dir=cache_dir
    )
    print_evaluation(write_report(table, out), out)


def study(
    manifest: ManifestFile,
    out: OutFolder,
    recipes: Annotated[str, typer.Option(help="Names with commas between them; 'all', 'ablation'.")] = "all",
    splits: Annotated[str, typer.Option(help="random, people or both with a comma.")] = "random,identity",
    folds: Annotated[int, typer.Option(help="How many of the five folds of people are judged.")] = 5,
    weights: Annotated[
        str | None, typer.Option(help="Pretrained weights: a folder of safetensors files.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 42,
    epochs: Annotated[int | None, typer.Option(help="Cut every phase to this many epochs.")] = None,
    only: Only = None,
    table: Annotated[Path | None, typer.Option(help="Csv of results to add the rows to.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Repeat the reference study and its corrections on both splits; goes on where it was stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.studies import reference as studying

    named = {"all": studying.RECIPES, "ablation": studying.ABLATION}
    plan = studying.Study(
        load_manifest(manifest, root=root, need_label=False), out,
        named.get(recipes, tuple(recipes.split(","))), studying.parse_splits(splits), folds, weights, seed,
        epochs, parse_pair(only) if only else None, cache_dir,
    )  # fmt: skip
    rows = studying.run_study(plan, typer.echo)
    if table:
        studying.write_rows(rows, table)
    print_rows(*studying.summarize(rows))
    typer.echo(f"Written to {out / 'study.md'}")


def tune(
    manifest: ManifestFile,
    out: OutFolder,
    trials: Annotated[int, typer.Option(help="In all, those of an earlier start included.")] = 30,
    processes: Annotated[int, typer.Option(help="Working on one storage.")] = 1,
    split: Annotated[str, typer.Option(help="identity or random.")] = "identity",
    epochs: Annotated[int, typer.Option(help="Most epochs of a trial.")] = 10,
    size: Annotated[int, typer.Option(help="Pixels of an image's side.")] = 128,
    seed: Annotated[int, typer.Option()] = 42,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Search the reference study's space of CNNs; writes a picture and the best recipe, and goes on."""
    from threeages.data.manifest import load_manifest
    from threeages.studies.tune import Search, run_search
    from threeages.studies.recipes import create_recipe

    given: dict[str, Any] = {"split": split, "epochs": epochs, "input_size": size, "seed": seed}
    base = replace(create_recipe("reference-cnn"), **given)
    run_search(
        Search(load_manifest(manifest, root=root), out, base, trials, processes, cache_dir), typer.echo
    )
    typer.echo(f"Train it with: threeages train {manifest} --recipe {out / 'best.json'} --out FOLDER")
