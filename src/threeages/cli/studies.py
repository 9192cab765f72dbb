"""Commands of the studies: the reference study, the search and ensembles."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from threeages.cli.options import (
    CacheFolder,
    ManifestFile,
    NameValue,
    Only,
    OutFolder,
    RayAddress,
    RecipeName,
    RootFolder,
    check_engine,
    name_value_option,
)
from threeages.cli.output import print_evaluation, print_notes, print_rows, start_training


def ensemble(
    manifest: ManifestFile,
    runs: Annotated[list[Path], typer.Argument(help="Run folders with the same test rows.")],
    out: OutFolder,
    tta: Annotated[
        str,
        typer.Option(help="Test-time augmentation, by commas: plain, mirrored, whole, whole-mirrored."),
    ] = "plain,mirrored",
    only: Only = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Evaluate the mean of several runs, with test-time augmentation (TTA), on their test rows."""
    from threeages.data.manifest import load_manifest
    from threeages.evaluation.report import check_folder, write_report
    from threeages.files.locks import hold_folder
    from threeages.studies.ensemble import predict_ensemble

    rows = load_manifest(manifest, root=root, need_label=False)
    check_folder(out)
    with hold_folder(out):
        table = predict_ensemble(rows, runs, tta.split(","), only=only, cache_dir=cache_dir)
        print_evaluation(write_report(table, out), out)


def study(
    manifest: ManifestFile,
    out: OutFolder,
    recipes: Annotated[str, typer.Option(help="Names with commas between them; 'all', 'ablation'.")] = "all",
    splits: Annotated[str, typer.Option(help="random, identity or both with a comma.")] = "random,identity",
    folds: Annotated[
        int, typer.Option(min=1, max=5, help="How many of the five identity-disjoint folds to run.")
    ] = 5,
    weights: Annotated[
        str | None, typer.Option(help="Pretrained weights: a folder of safetensors files.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 42,
    epochs: Annotated[int | None, typer.Option(min=1, help="Cut every phase to this many epochs.")] = None,
    only: Only = None,
    table: Annotated[Path | None, typer.Option(help="Csv of results to add the rows to.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Repeat the reference study and its corrections on both splits; resumes where it was stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.studies.reference import (
        ABLATION,
        RECIPES,
        Study,
        add_rows,
        describe_gaps,
        parse_splits,
        run_study,
        summarize,
    )

    start_training()
    plan = Study(
        load_manifest(manifest, root=root, need_label=False),
        out,
        recipes={"all": RECIPES, "ablation": ABLATION}.get(recipes, tuple(recipes.split(","))),
        splits=parse_splits(splits),
        folds=folds,
        weights=weights,
        seed=seed,
        epochs=epochs,
        only=only,
        cache_dir=cache_dir,
    )
    rows = run_study(plan)
    if table:
        add_rows(rows, table)
    print_notes(describe_gaps(rows))
    print_rows(*summarize(rows))
    typer.echo(f"Written to {out / 'study.md'}")


def cross_source(
    manifest: ManifestFile,
    out: OutFolder,
    recipe: RecipeName = "frozen-features",
    join: Annotated[
        list[NameValue] | None,
        name_value_option("--join", "NAME=A,B", "Sources that are held out together under a name."),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="Train on these sources alone as well, with commas between them.")
    ] = "",
    answers: Annotated[
        list[NameValue] | None,
        name_value_option("--answers", "NAME=FILE", "Predictions of another model for the same images."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Pretrained FILE or FOLDER, or 'random'.")] = None,
    table: Annotated[Path | None, typer.Option(help="Csv of results to add the rows to.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Hold out each source of faces in turn: metrics on sources that a model never met; resumes."""
    from threeages.data.manifest import load_manifest
    from threeages.studies.cross_source import CrossSource, run_cross_source, save_table, summarize
    from threeages.studies.recipes import create_recipe
    from threeages.training.build import drop_missing_heads

    start_training()
    rows = load_manifest(manifest, root=root, need_label=False)
    config = drop_missing_heads(create_recipe(recipe), rows)
    plan = CrossSource(
        rows,
        config if weights is None else replace(config, weights=weights),
        out,
        joined={name: value.split(",") for name, value in join or ()},
        baseline=baseline.split(",") if baseline else (),
        answers={name: Path(value) for name, value in answers or ()},
        cache_dir=cache_dir,
    )
    found = [
        {"recipe": "" if row["model"] in plan.answers else recipe} | row for row in run_cross_source(plan)
    ]
    save_table(found, table or out / "cross-source.csv")
    print_rows(*summarize(found))


def tune(
    manifest: ManifestFile,
    out: OutFolder,
    trials: Annotated[int, typer.Option(min=1, help="In all, those of an earlier start included.")] = 30,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share one storage.")] = 1,
    engine: Annotated[
        str, typer.Option("--engine", help="Where they run: local, on this machine, or ray, on a cluster.")
    ] = "local",
    address: RayAddress = None,
    split: Annotated[str, typer.Option(help="identity or random.")] = "identity",
    epochs: Annotated[int, typer.Option(min=1, help="Most epochs of a trial.")] = 10,
    size: Annotated[int, typer.Option(help="Pixels of an image's side.")] = 128,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 42,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Search the reference study's space of CNN settings; writes the best recipe; resumes."""
    from threeages.data.manifest import load_manifest
    from threeages.studies.recipes import create_recipe
    from threeages.studies.tune import Search, run_search

    on_ray = check_engine(engine, address)
    start_training()
    given: dict[str, Any] = {"split": split, "epochs": epochs, "input_size": size, "seed": seed}
    base = replace(create_recipe("reference-cnn"), **given)
    rows = load_manifest(manifest, root=root)
    run_search(Search(rows, out, base, trials, processes, cache_dir, on_ray=on_ray, address=address))
    typer.echo(f"Train it with: threeages train {manifest} --recipe {out / 'best.json'} --out FOLDER")
