"""Commands that make a model: train, distill and export."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from threeages.cli.options import (
    CacheFolder,
    FaceAlignment,
    InputSize,
    ManifestFile,
    Only,
    OutFolder,
    RecipeName,
    RootFolder,
    SplitKind,
    Weights,
    drop_none,
    parse_weighted,
)
from threeages.cli.output import print_evaluation


def train(
    manifest: ManifestFile,
    out: OutFolder,
    recipe: RecipeName = "reference-cnn",
    split: SplitKind = None,
    fold: Annotated[int | None, typer.Option(help="Which fold of people is judged.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the main phase.")] = None,
    head_epochs: Annotated[int | None, typer.Option(help="Before it, with the backbone frozen.")] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without gain that end a phase.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    lr: Annotated[float | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32-true or bf16-mixed.")] = None,
    model: Annotated[str | None, typer.Option(help="Another model in the recipe, also timm/NAME.")] = None,
    weights: Weights = None,
    head: Annotated[str | None, typer.Option(help="softmax, soft_ordinal, coral or corn.")] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="A further head, COLUMN or years, with its weight: gender=0.3.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Weights of CLIP's image tower, to learn what it sees too.")
    ] = None,
    prefix_cache: Annotated[
        bool | None, typer.Option("--prefix-cache/--no-prefix-cache", help="Compute what is frozen once.")
    ] = None,
    max_cache_gb: Annotated[float | None, typer.Option(help="Most disk space that may take.")] = None,
    size: InputSize = None,
    alignment: FaceAlignment = None,
    temperature: Annotated[float | None, typer.Option(help="Calibrates where none is fitted.")] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the epochs for TensorBoard too.")
    ] = False,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Train a recipe into a run folder and judge it on the rows held out; goes on where it was stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.evaluation.report import write_report
    from threeages.training.recipes import TEACHER_WEIGHT, create_recipe
    from threeages.training.run import train as run_training
    from threeages.training.tensorboard import open_tensorboard

    given: dict[str, Any] = {
        "split": split, "fold": fold, "epochs": epochs, "head_epochs": head_epochs, "patience": patience,
        "seed": seed, "lr": lr, "precision": precision, "model": model, "weights": weights, "head": head,
        "tasks": dict(parse_weighted(text) for text in task) if task else None, "prefix_cache": prefix_cache,
        "max_cache_gb": max_cache_gb, "input_size": size, "alignment": alignment, "temperature": temperature,
    }  # fmt: skip
    config = create_recipe(recipe)
    if teacher:
        tasks = given["tasks"] or config.tasks
        given |= {"teacher": teacher, "tasks": {"teacher": TEACHER_WEIGHT, **tasks}}
    config = replace(config, **drop_none(given))
    table = run_training(
        load_manifest(manifest, root=root, need_label=False),
        config,
        out,
        cache_dir=cache_dir,
        log=open_tensorboard(out) if tensorboard else None,
    )
    if table is None:
        typer.echo(f"Trained on every row; nothing was judged. Model: {out}")
        return
    print_evaluation(write_report(table, out), out)


def adapt(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option("--out", help="Weights to write (.safetensors), for --weights.")],
    recipe: RecipeName = "default",
    weights: Weights = None,
    size: InputSize = None,
    alignment: FaceAlignment = None,
    split: SplitKind = None,
    fold: Annotated[int | None, typer.Option(help="The fold of people that is not learnt from.")] = None,
    only: Only = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Weights of CLIP's image tower, to learn its patches too.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="What an earlier adapt wrote, to go on from; --weights still teach.")
    ] = None,
    mix: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the views that show two faces in one; for a GPU.")
    ] = 0.0,
    epochs: Annotated[int, typer.Option(min=1)] = 4,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Faces a step.")] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Make a pretrained network fit for small and poor faces, without labels; goes on where stopped."""
    from threeages.data.manifest import load_manifest
    from threeages.training.distill import adapt as run_adapting
    from threeages.training.recipes import create_recipe

    given = {
        "weights": weights, "input_size": size, "alignment": alignment, "split": split, "fold": fold,
        "batch_size": batch_size,
    }  # fmt: skip
    config = replace(create_recipe(recipe), **drop_none(given))
    losses = run_adapting(
        load_manifest(manifest, root=root, need_label=False),
        config,
        out,
        only=only,
        teacher=teacher,
        start=start,
        mix=mix,
        epochs=epochs,
        cache_dir=cache_dir,
    )
    for epoch, loss in enumerate(losses, start=1):
        typer.echo(f"epoch {epoch}  loss {loss:.4f}")
    typer.echo(f"Weights: {out}")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder or checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")],
    int8: Annotated[
        Path | None, typer.Option(help="Write it in 8 bits; a manifest of faces to calibrate and check with.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of the answers, where it was measured on folds of people.")
    ] = None,
    root: RootFolder = None,
    cache_dir: CacheFolder = None,
) -> None:
    """Write one ONNX file with its preprocessing inside; fails where it differs from torch."""
    from threeages.data.manifest import load_manifest
    from threeages.export.to_onnx import collect_faces, export_onnx
    from threeages.training.checkpoint import load_checkpoint

    model = load_checkpoint(run)[0]
    if temperature is not None:
        model.signature = replace(model.signature, temperature=temperature)
    faces = None
    if int8:
        rows = load_manifest(int8, root=root, need_label=False)
        faces = collect_faces(rows, model.signature, cache_dir)
    parity = export_onnx(model, out, faces)
    typer.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, largest difference from torch {parity.difference:.1e}"
    )
    if parity.agreement is not None:
        typer.echo(
            f"In 8 bits {parity.agreement:.2%} of the answers are torch's; accuracy lost: "
            f"{parity.accuracy_loss:.2%} (error {parity.loss_error:.2%})."
        )
