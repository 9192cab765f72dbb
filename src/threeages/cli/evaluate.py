"""Commands that evaluate: evaluate, compare, thresholds and card."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.ages import parse_questions
from threeages.cli.hints import Options, fit_text, list_options
from threeages.cli.models import find_model, open_predictor
from threeages.cli.options import (
    ModelName,
    ModelOfPredictions,
    NameValue,
    NoDetect,
    Only,
    OutFolder,
    RootFolder,
    name_value_option,
)
from threeages.cli.output import print_evaluation, print_notes, print_rows, print_unreadable, watch

if TYPE_CHECKING:
    from threeages.data.manifest import InvalidRow, Manifest
    from threeages.evaluation.predictions import PredictionTable
    from threeages.evaluation.thresholds import ErrorMeasure
    from threeages.inference.predictor import Predictor

Predictions = Annotated[
    list[Path],
    typer.Argument(help="Run folders or predictions csv on held-out identities; several are joined."),
]


def evaluate(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            help="A manifest with the columns path,label, a folder with young/, middle/ and old/, or run "
            "folders or predictions csv of any model; predictions are recognised by their columns prob_..., "
            "and several are joined.",
        ),
    ],
    out: OutFolder,
    model: ModelName = "default",
    root: RootFolder = None,
    only: Only = None,
    no_detect: NoDetect = False,
    disjoint: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="With a run on a random split: one of the same recipe that held out identities, for the gap "
            "between both; repeatable for its folds.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model in --table.")] = "",
    table: Annotated[Path | None, typer.Option(help="Csv of results to add a row to.")] = None,
    brackets: Annotated[
        str | None,
        typer.Option(
            metavar="YEARS",
            help="First years of brackets of ages, such as 0,13,18,30,50, to score against the true ages.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="YEARS",
            help="Limits of age, such as 18,21,25: false acceptance and rejection. They make no age check.",
        ),
    ] = None,
    challenge_rates: Annotated[
        str | None,
        typer.Option(
            metavar="RATES",
            help="With --at: target false acceptance of the challenge ages, by default 0.1,0.05,0.02,0.01.",
        ),
    ] = None,
) -> None:
    """Evaluate a model on a manifest, or predictions on disk; exit code 1 where an image cannot be read.

    Writes metrics with intervals, predictions, pictures and report.html to a folder.
    """
    from threeages.evaluation.predictions import ANSWERED, find_predictions, is_predictions
    from threeages.evaluation.report import add_result, check_folder, write_report
    from threeages.evaluation.run_gap import measure_split_gap
    from threeages.files.locks import hold_folder

    ages = parse_questions(brackets, at, challenge_rates)
    inputs = [find_predictions(path) for path in inputs]
    check_folder(out, () if only else inputs)
    predicted = all(map(is_predictions, inputs))
    if predicted:
        _refuse_model_options(model, root, no_detect)
    elif disjoint:
        raise typer.BadParameter("It takes the predictions of a run on a random split, not a manifest.",
                                 param_hint="--disjoint")  # fmt: skip
    found = _join(inputs, only) if predicted else _predict(inputs, model, root, only, no_detect)
    if disjoint:
        found = measure_split_gap(found, _join(disjoint, only))
    with hold_folder(out):
        result = write_report(found, out, ages=ages)
    if table:
        add_result(result, table, name or out.name)
    print_evaluation(result, out)
    failed = sum(status not in ANSWERED for status in found.status)
    if print_unreadable(failed, len(found), "could not be read or used"):
        raise typer.Exit(1)


def _refuse_model_options(model: str, root: Path | None, no_detect: bool) -> None:
    if model != "default" or root or no_detect:
        raise typer.BadParameter("These are for a manifest; predictions hold a model's answers already.",
                                 param_hint="--model, --root and --no-detect")  # fmt: skip


def _join(predictions: list[Path], only: NameValue | None = None) -> "PredictionTable":
    """The rows of all predictions, or those with the value of --only."""
    from threeages.evaluation.joining import join_runs

    joined = join_runs(predictions)
    return joined.where(*only) if only else joined


def _predict(
    inputs: list[Path], model: str, root: Path | None, only: NameValue | None, no_detect: bool
) -> "PredictionTable":
    """What the model predicts on the manifest, which must be the only input."""
    from dataclasses import replace

    import numpy as np

    from threeages.cli.answering import shorten_name
    from threeages.data.checks import check_age_groups
    from threeages.data.manifest import find_rows, read_manifest
    from threeages.errors import DataError, format_count
    from threeages.evaluation.collect import predict_table
    from threeages.evaluation.predictions import is_predictions
    from threeages.evaluation.provenance import Provenance
    from threeages.files.checksums import checksum

    if len(inputs) > 1:
        other = next(path for path in inputs if not is_predictions(path))
        raise DataError(
            f"{format_count(inputs, 'input')} were given, and not all of them are predictions: {other} has "
            "no columns of probabilities.",
            hint="Give one manifest, or predictions csv alone. To join manifests: threeages data merge.",
        )
    if inputs[0].is_dir():
        rows, faults = _read_labelled(inputs[0])
    else:
        rows, faults = read_manifest(inputs[0], root=root, allow_empty=True)
    if only:
        rows = rows.select(find_rows(rows.columns, *only, np.arange(len(rows))))
    _show_invalid(faults)
    if not len(rows):
        raise DataError(
            f"{inputs[0]} has no row that can be used.", hint="At least one row needs a path and a label."
        )
    check_age_groups(rows, np.arange(len(rows)), least=1)
    _show_missing(rows)
    predictor = open_predictor(model, no_detect)
    found = predict_table(predictor, _mark_trained(rows, predictor, model), faults, watch=watch)
    answered = Provenance(model=shorten_name(model), model_checksum=checksum(find_model(model)))
    return replace(found, provenance=answered)


def _mark_trained(rows: "Manifest", predictor: "Predictor", model: str) -> "Manifest":
    """The rows with what of them the model was trained on, where its file or its run's folder says so."""
    from threeages.data.train_digests import load_train_digests, parse_train_digests
    from threeages.evaluation.trained_on import mark_rows
    from threeages.inference.named import find_model_file

    content = predictor.classifier.model.read_train_digests()
    if content is not None:
        digests = parse_train_digests(content, Path(model))
    else:  # exported by an earlier release, or not to tell
        digests = load_train_digests(find_model_file(model))
    return rows if digests is None else mark_rows(rows, digests)


def _read_labelled(folder: Path) -> "tuple[Manifest, list[InvalidRow]]":
    """The images of a folder that names their groups, as 'data import' reads it."""
    from threeages.cli.inputs import show_passed_over
    from threeages.data.importing.sources import read_source

    found = read_source(str(folder))
    print_notes(fit_text(note, "threeages evaluate", _list_options()) for note in found.notes)
    show_passed_over(found.passed_over)
    return found.manifest, []


def _list_options() -> Options:
    from threeages.cli.main import list_commands

    return list_options(list_commands())


def _show_invalid(invalid: Sequence["InvalidRow"]) -> None:
    """Name on stderr the first row that cannot be used, and what to do about those outside the root."""
    from threeages.data.paths import root_hint

    if invalid:
        first = invalid[0]
        message = (
            f"{len(invalid):,} rows cannot be used, first line {first.line}: {first.status}: {first.message}"
        )
        outside = [row.path for row in invalid if row.status == "outside_root"]
        typer.echo(f"{message}{' ' + root_hint(outside) if outside else ''}", err=True)


def _show_missing(rows: "Manifest") -> None:
    """Name on stderr the first image that is missing; raises DataError where all are."""
    from threeages.errors import DataError

    missing = [file for file in rows.files() if not file.is_file()]
    if not missing:
        return
    message = f"{len(missing):,} of {len(rows):,} images are missing, first {missing[0]}."
    hint = f"Paths are relative to {rows.root}. Name another folder with --root."
    if len(missing) == len(rows):
        raise DataError(message, hint=hint)
    typer.echo(f"{message} {hint}", err=True)


def thresholds(
    predictions: Predictions,
    model: Annotated[Path | None, typer.Option(help="ONNX file to store them in.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Json file to write the measures to.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Column of sources never met: targets hold on the worst, each is measured by the others."
        ),
    ] = None,
) -> None:
    """Measure the confidence for each target error rate, and the size of prediction sets by coverage."""
    from dataclasses import asdict

    from threeages.evaluation.evaluate import describe_labels
    from threeages.evaluation.thresholds import measure_thresholds
    from threeages.evaluation.trained_on import describe_unknown
    from threeages.files.writing import write_json
    from threeages.inference.runtime import OnnxModel, replace_signature

    table = _join(predictions)
    found = measure_thresholds(table, by=by)
    if model:
        replace_signature(model, found.apply(OnnxModel(model).signature))
    if out:
        write_json(out, asdict(found))
    over = f"the values of {by}" if by else "identities"
    typer.echo(
        f"{found.n:,} images of {found.identities:,} identities; measures are cross-fitted over {over}"
    )
    print_notes((*describe_unknown(table), *describe_labels(table)))
    print_rows(
        ["target error rate", "confidence threshold", "coverage", "selective risk"],
        [
            [f"{e.target_error:g}", f"{e.confidence:.3f}", f"{e.coverage:.3f}", _format_risk(e)]
            for e in found.errors
        ],
    )
    print_rows(
        ["target coverage", "probability threshold", "coverage by identity", "groups in the set"],
        [
            [f"{s.target_coverage:g}", f"{s.probability:.3f}", f"{s.coverage:.3f}", f"{s.size:.2f}"]
            for s in found.sets
        ],
    )
    if found.age_margin is not None:
        typer.echo(f"Intervals of years grow by {found.age_margin:+.1f} at both ends")
    if found.years is not None:
        typer.echo(
            f"Temperature of the years {found.years.temperature:g}: log loss of the true year "
            f"{found.years.nll_before:.4f} before, {found.years.nll:.4f} after on others ({found.years.n:,} "
            f"images){'' if found.years.adopted != 1 else '; it is of no use there and not stored'}"
        )


def _format_risk(measure: "ErrorMeasure") -> str:
    """The selective risk, and its interval where there is one."""
    low, high = measure.risk_low, measure.risk_high
    return f"{measure.risk:.3f}" + (f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) else "")


def card(
    sets: Annotated[
        list[NameValue],
        name_value_option(
            "--set",
            "NAME=PREDICTIONS",
            "A set of predictions: a run folder or a csv; several with commas.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The Markdown file to write.")],
    model: ModelOfPredictions = None,
    roots: Annotated[
        list[NameValue] | None,
        name_value_option("--root", "NAME=FOLDER", "The images of a set, for slices by size and colour."),
    ] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="Predictions on sources never met, told apart by a column held_out.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Run folder that the model was exported from: the card names its train images by source. "
            "By default the run of --model or of the predictions, where it is the same."
        ),
    ] = None,
) -> None:
    """Write the model card from predictions on held-out identities, and on sources never met.

    It begins with metadata for the Hugging Face Hub.
    """
    from threeages.cli.answering import (
        check_answering,
        choose_model,
        find_sources,
        name_model,
        shorten_name,
    )
    from threeages.evaluation.card import CardSet, write_card
    from threeages.evaluation.predictions import load_predictions
    from threeages.evaluation.provenance import read_sources
    from threeages.inference.named import NAMES
    from threeages.inference.runtime import OnnxModel

    folders = {pair.name: Path(pair.value) for pair in roots or ()}
    cards = [
        CardSet(s.name, _join([Path(file) for file in s.value.split(",")]), folders.get(s.name)) for s in sets
    ]
    parts = [one.table.provenance for one in cards]
    never_met = load_predictions(unseen) if unseen else None
    sources = read_sources(run) if run else None
    chosen = shorten_name(choose_model(model or (str(run) if run else None), parts))
    check_answering(chosen, parts)
    path = find_model(chosen)
    loaded = OnnxModel(path)
    is_shipped = chosen in NAMES
    if sources is None and not is_shipped:
        sources = find_sources(chosen, loaded, parts)
    write_card(
        cards,
        loaded.signature,
        out,
        name=name_model(chosen),
        megabytes=path.stat().st_size / 1e6,
        has_years=loaded.has_years,
        is_shipped=is_shipped,
        unseen=never_met,
        train_sources=sources,
    )
    typer.echo(f"Written to {out}")


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, predictions csv or any program's answers: a csv with path and probabilities, "
            "age_group or predicted_age; the first is the baseline and has labels."
        ),
    ],
) -> None:
    """Compare runs on the images all of them answered: metrics, and paired differences from the first."""
    from threeages.evaluation.compare import METRICS, compare_tables, load_run
    from threeages.evaluation.corrected import describe_corrections
    from threeages.evaluation.provenance import join_provenance
    from threeages.evaluation.trained_on import describe_trained

    tables = [(str(path), load_run(path)) for path in runs]
    found = compare_tables(tables)
    typer.echo(f"{found[0].n:,} images; differences from {found[0].name} with 95 % intervals")
    notes = join_provenance(table.provenance for _, table in tables).notes()
    print_notes((*notes, *describe_corrections(tables[0][1])))
    for (name, table), item in zip(tables, found, strict=True):
        print_notes(f"{name}: {note}" for note in (*describe_trained(table), *item.notes))
    first, *others = found
    rows = [[first.name, *(_format_value(first.metrics[name]) for name in METRICS)]]
    for item in others:
        cells = [_format_difference(item.metrics[name], *item.differences[name]) for name in METRICS]
        rows.append([item.name, *cells])
    print_rows(["run", *METRICS], rows)


def _format_difference(value: float, difference: float, low: float, high: float) -> str:
    """A metric, and its difference from the baseline with the interval where there is one."""
    if not math.isfinite(value):
        return _format_value(value)
    interval = f" [{low:+.4f}, {high:+.4f}]" if math.isfinite(low) else ""
    return f"{_format_value(value)}  {difference:+.4f}{interval}"


def _format_value(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "not defined"
