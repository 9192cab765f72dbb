"""Commands that make a model: train, distill and export."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from threeages.cli.options import (
    AllowSource,
    CacheFolder,
    Devices,
    ManifestFile,
    Nodes,
    Only,
    RecipeName,
    RootFolder,
    Terms,
    parse_weighted,
)
from threeages.cli.output import print_evaluation, show_log, start_training
from threeages.cli.ranks import join_ranks
from threeages.cli.settings import with_settings
from threeages.training.config import DistillConfig, TrainConfig
from threeages.training.launch import launch_processes
from threeages.training.placement import find_placement

if TYPE_CHECKING:
    from threeages.data.manifest import Manifest
    from threeages.data.train_digests import TrainDigests

RUNS = Path("runs")
# what a distillation takes of a recipe beside its own settings
DISTILL_FIELDS = (
    "model", "weights", "input_size", "alignment", "split", "held_out", "train_sources", "fold", "folds",
    "batch_size", "seed", "precision", "max_cache_gb",
)  # fmt: skip


@with_settings(given=TrainConfig)
def train(
    manifest: ManifestFile,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run: runs/MANIFEST-RECIPE.")
    ] = None,
    recipe: RecipeName = "default",
    track: Annotated[
        list[str] | None,
        typer.Option("--track", help="Send metrics to tensorboard, mlflow or trackio too; repeatable."),
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of the MLflow server; else MLFLOW_TRACKING_URI.")
    ] = None,
    terms: Terms = "any",
    allow_source: AllowSource = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
    devices: Devices = None,
    nodes: Nodes = None,
    *,
    given: dict[str, Any],
) -> None:
    """Train a model and evaluate it on held-out rows; a stopped training resumes.

    Without options it starts from the pretrained network of faces in the package and holds out identities.
    """
    placement = find_placement(devices, nodes)
    if placement.starts:
        raise typer.Exit(launch_processes(placement))
    from threeages.evaluation.report import write_report
    from threeages.studies.recipes import create_recipe
    from threeages.training.run import run_training
    from threeages.training.tracking.tracking import open_tracking

    start_training()
    with join_ranks(placement) as ranks:
        config = create_recipe(recipe)
        given = _parse_heads(given)
        replace(config, **given)  # what is outside its range is said before the manifest is read
        rows = _load_rows(manifest, root, terms, allow_source or (), quiet=not ranks.is_main)
        config = _adjust(config, given, rows)
        out = out or RUNS / f"{manifest.stem}-{Path(recipe).stem}"
        trackers = (track, tracking_uri) if ranks.is_main else (None, None)
        with open_tracking(trackers[0] or (), out, trackers[1]) as tracking:
            table = run_training(rows, config, out, cache_dir=cache_dir, tracking=tracking, ranks=ranks)
            result = None if table is None else write_report(table, out)
            if result:
                tracking.log_test(result.metrics)
        if result:
            print_evaluation(result, out)
        elif ranks.is_main:
            typer.echo(f"Trained on every row; none was left to evaluate. Model: {out}")


def _load_rows(
    manifest: Path, root: Path | None, terms: str, allowed: Sequence[str], *, quiet: bool = False
) -> "Manifest":
    """The rows of a manifest whose sources' terms are as asked; the others are counted on stderr."""
    from threeages.data.manifest import load_manifest
    from threeages.data.terms import find_terms, select_permissive
    from threeages.errors import ConfigError

    if terms not in ("any", "permissive"):
        raise ConfigError(f"--terms was '{terms}'.", hint="Allowed: any, permissive.")
    if allowed and terms == "any":
        raise ConfigError("--allow-source was given without --terms permissive.", hint="Give both.")
    rows = load_manifest(manifest, root=root, need_label=False)
    if terms == "any":
        return rows
    kept, dropped = select_permissive(rows, manifest.stem, allowed)
    named = ", ".join(f"{name} {count:,} ({find_terms(name).use})" for name, count in dropped.items())
    kept_rows = f"{len(kept):,} of {len(rows):,} rows are kept"
    if not quiet:
        typer.echo(f"--terms permissive: {kept_rows}; dropped: {named or 'none'}", err=True)
    return kept


def _adjust(config: TrainConfig, given: dict[str, Any], rows: "Manifest") -> TrainConfig:
    """A recipe with the options given; its own heads need their column, those given must have it."""
    from threeages.training.build import drop_missing_heads

    return replace(drop_missing_heads(config, rows), **given)


def _parse_heads(given: dict[str, Any]) -> dict[str, Any]:
    """The options with the weights of extra heads as numbers."""
    if "extra_heads" not in given:
        return given
    return given | {"extra_heads": dict(parse_weighted(text) for text in given["extra_heads"])}


@with_settings(distillation=DistillConfig, given=(TrainConfig, DISTILL_FIELDS))
def distill(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option("--out", help="Weights to write (.safetensors), for --weights.")],
    recipe: RecipeName = "fine-tuned",
    only: Only = None,
    terms: Terms = "any",
    allow_source: AllowSource = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
    *,
    distillation: dict[str, Any],
    given: dict[str, Any],
) -> None:
    """Adapt a pretrained network to small and poor images of faces, without labels.

    Its teacher is the network as published, on larger images; CLIP's image encoder may be a second one.
    A stopped distillation resumes.
    """
    from threeages.studies.recipes import create_recipe
    from threeages.training.distill import run_distillation

    start_training()
    config, settings = replace(create_recipe(recipe), **given), DistillConfig(**distillation)
    losses = run_distillation(
        _load_rows(manifest, root, terms, allow_source or ()),
        config,
        settings,
        out,
        only=only,
        cache_dir=cache_dir,
    )
    for epoch, loss in enumerate(losses, start=1):
        typer.echo(f"epoch {epoch}  loss {loss:.4f}")
    typer.echo(f"Weights: {out}")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder or checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")],
    int8: Annotated[
        Path | None, typer.Option(help="Store int8 weights; a manifest of faces to calibrate and check with.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the probabilities, where it was fitted on several folds.")
    ] = None,
    digests: Annotated[
        str,
        typer.Option(
            help="Of its train rows, which 'evaluate' recognises: all, images (no identities) or none."
        ),
    ] = "all",
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Write one ONNX file with its preprocessing inside; fails where it differs from torch."""
    from threeages.data.manifest import load_manifest
    from threeages.errors import ConfigError
    from threeages.export.to_onnx import collect_faces, export_onnx
    from threeages.training.checkpoint import load_checkpoint

    if temperature is not None and not 0 < temperature < math.inf:
        raise ConfigError(f"--temperature was {temperature}.", hint="Give a number above 0, such as 1.2.")
    if digests not in ("all", "images", "none"):
        raise ConfigError(f"--digests was '{digests}'.", hint="Allowed: all, images, none.")
    model = load_checkpoint(run)[0]
    if temperature is not None:
        model.signature = replace(model.signature, temperature=temperature)
    faces = None
    if int8:
        show_log()
        rows = load_manifest(int8, root=root, need_label=False)
        faces = collect_faces(rows, model.signature, cache_dir)
    parity = export_onnx(model, out, faces, digests=_read_digests(run, digests))
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, largest difference from torch {parity.difference:.1e}"
    )
    if parity.agreement is not None:
        lost = "not measured, as no face has a label"
        if parity.accuracy_loss is not None:
            lost = f"{parity.accuracy_loss:.2%} (error {parity.loss_error:.2%})"
        typer.echo(f"In int8 {parity.agreement:.2%} of the predictions are torch's; accuracy lost: {lost}.")


def _read_digests(run: Path, kept: str) -> "TrainDigests | None":
    """What the run of a folder or a checkpoint was trained on, as far as it is to be told."""
    from threeages.data.train_digests import load_train_digests

    if kept == "none":
        return None
    found = load_train_digests(run if run.is_dir() else run.parent)
    if found is None:
        typer.echo(
            "The run has no digests of its train rows, so that 'threeages evaluate' will not recognise them "
            "for this file.",
            err=True,
        )
        return None
    return found if kept == "all" else found.without_identities()
