"""Commands that measure: evaluate, compare, thresholds and card."""

from pathlib import Path
from typing import Annotated

import typer

from threeages.cli.models import find_model, open_predictor
from threeages.cli.options import ModelName, NoDetect, Only, OutFolder, RootFolder, parse_pair
from threeages.cli.output import print_evaluation, print_rows, watch


def evaluate(
    manifest: Annotated[Path, typer.Option(help="Csv with the columns path,label.")],
    out: OutFolder,
    model: ModelName = "default",
    root: RootFolder = None,
    no_detect: NoDetect = False,
) -> None:
    """Judge a model on a labelled csv: metrics, intervals, predictions and pictures in a folder."""
    from threeages.data.manifest import read_manifest
    from threeages.evaluation.collect import predict_table
    from threeages.evaluation.report import write_report

    rows, faults = read_manifest(manifest, root=root)
    result = write_report(predict_table(open_predictor(model, no_detect), rows, faults, watch=watch), out)
    print_evaluation(result, out)
    if result.n_failed:
        raise typer.Exit(1)


def judge(
    predictions: Annotated[
        list[Path], typer.Argument(help="Predictions csv of any model; several are joined.")
    ],
    out: OutFolder,
    only: Only = None,
    name: Annotated[str, typer.Option(help="Name of the model in --table.")] = "",
    table: Annotated[Path | None, typer.Option(help="Csv of results to add a row to.")] = None,
) -> None:
    """Judge predictions on disk, such as the five folds of a cross-validation together."""
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.evaluation.report import add_result, write_report

    joined = join_predictions([load_predictions(path) for path in predictions])
    if only:
        joined = joined.where(*parse_pair(only))
    result = write_report(joined, out)
    if table:
        add_result(result, table, name or out.name)
    print_evaluation(result, out)


def thresholds(
    predictions: Annotated[
        list[Path], typer.Argument(help="Predictions csv on people outside training; several are joined.")
    ],
    model: Annotated[Path | None, typer.Option(help="ONNX file to store them in.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Json file to write what was measured to.")
    ] = None,
) -> None:
    """Measure from which confidence on a model may answer, and how wide its sets must be."""
    import json
    from dataclasses import asdict

    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.evaluation.thresholds import measure_thresholds
    from threeages.files import atomic_path
    from threeages.inference.runtime import OnnxModel, replace_signature

    found = measure_thresholds(join_predictions([load_predictions(path) for path in predictions]))
    if model:
        replace_signature(model, found.apply(OnnxModel(model).signature))
    if out:
        with atomic_path(out) as part:
            part.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{found.n:,} images of {found.persons:,} persons; measured on persons left out")
    print_rows(
        ["error rate", "confidence from", "answered", "error"],
        [[f"{e.rate:g}", f"{e.confidence:.3f}", f"{e.answered:.3f}", f"{e.error:.3f}"] for e in found.errors],
    )
    print_rows(
        ["coverage", "probability from", "covered, a person", "groups in the set"],
        [
            [f"{s.coverage:g}", f"{s.probability:.3f}", f"{s.covered:.3f}", f"{s.size:.2f}"]
            for s in found.sets
        ],
    )
    if found.age_margin is not None:
        typer.echo(f"Intervals of years grow by {found.age_margin:+.1f} at both ends")


def card(
    sets: Annotated[list[str], typer.Option("--set", help="NAME=PREDICTIONS.csv; several csv with commas.")],
    out: Annotated[Path, typer.Option("--out", help="The Markdown file to write.")],
    model: ModelName = "default",
    roots: Annotated[
        list[str] | None,
        typer.Option("--root", help="NAME=FOLDER of the images, for slices by size and colour."),
    ] = None,
) -> None:
    """Write the model card from predictions on people outside training."""
    from threeages.evaluation.card import CardSet, write_card
    from threeages.evaluation.predictions import join_predictions, load_predictions
    from threeages.inference.runtime import OnnxModel

    folders = dict(map(parse_pair, roots or ()))
    tables = {
        name: join_predictions([load_predictions(Path(file)) for file in files.split(",")])
        for name, files in map(parse_pair, sets)
    }
    path = find_model(model)
    loaded = OnnxModel(path)
    cards = [CardSet(n, t, Path(folders[n]) if n in folders else None) for n, t in tables.items()]
    size = path.stat().st_size / 1e6
    write_card(cards, loaded.signature, out, megabytes=size, has_years=loaded.has_years)
    typer.echo(f"Written to {out}")


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders or predictions; the first is the baseline.")
    ],
) -> None:
    """Judge runs on the images all of them answered: figures, and paired differences from the first."""
    from threeages.evaluation.compare import FIGURES, compare_tables, load_run

    found = compare_tables([(str(path), load_run(path)) for path in runs])
    typer.echo(f"{found[0].n:,} images; differences from {found[0].name} with 95 % intervals")
    rows = []
    for item in found:
        cells = [f"{item.figures[f]:.4f}  {d:+.4f} [{low:+.4f}, {high:+.4f}]"
                 for f in FIGURES for d, low, high in [item.differences[f]]]  # fmt: skip
        rows.append([item.name, *cells])
    print_rows(["run", *FIGURES], rows)
