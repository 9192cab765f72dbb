"""The command that writes one report of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.ages import parse_questions
from threeages.cli.models import find_model
from threeages.cli.output import describe_faces, print_notes
from threeages.errors import format_count

if TYPE_CHECKING:
    from threeages.evaluation.mistakes import Mistake
    from threeages.evaluation.predictions import PredictionTable
    from threeages.evaluation.report_parts import ModelSummary
    from threeages.evaluation.thresholds import ThresholdReport


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a run or of an evaluation, or predictions csv; several are joined.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; by default that of the one run.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Adds speed and thresholds: 'default', 'large' or an ONNX file.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The images' folder: shows the faces of the surest mistakes.")
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="audit.json of 'threeages data audit'.")] = None,
    leakage: Annotated[Path | None, typer.Option(help="leakage.json of 'threeages data leakage'.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card in Markdown, to add at the end.")] = None,
    brackets: Annotated[
        str | None, typer.Option(metavar="YEARS", help="First years of brackets of ages: 0,13,18,30,50.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="YEARS", help="Limits of age, such as 18,21,25.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
) -> None:
    """Write one report of a run: report.html, which needs no network, and report.json.

    It holds what was asked, the data, metrics with intervals, calibration, slices and the surest mistakes,
    and what the options add. With --root it holds faces.
    """
    from threeages.evaluation.evaluate import evaluate_table
    from threeages.evaluation.joining import join_runs
    from threeages.evaluation.mistakes import add_pictures, find_mistakes
    from threeages.evaluation.report import PAGE, write_full_report
    from threeages.evaluation.report_parts import Report, find_thresholds, read_json
    from threeages.evaluation.run_summary import read_run_summary
    from threeages.files.csvfiles import read_text

    ages = parse_questions(brackets, at)
    folder = _choose_out(runs, out)
    _check_root(root)
    audited = read_json(audit, "threeages data audit MANIFEST --out FOLDER", "counts") if audit else None
    leaked = (
        read_json(leakage, "threeages data leakage MANIFEST --out FOLDER", "verdict") if leakage else None
    )
    text = read_text(card) if card else ""
    table = join_runs(runs)
    result = evaluate_table(table, ages=ages)
    mistakes = find_mistakes(table)
    thresholds, no_thresholds = find_thresholds(table)
    found = Report(
        result,
        read_run_summary(runs[0], table.provenance) if len(runs) == 1 else None,
        audited,
        leaked,
        thresholds,
        no_thresholds,
        _summarize(model, table, thresholds) if model else None,
        add_pictures(mistakes, root) if root else mistakes,
        text,
        title or Report.title,
    )
    write_full_report(found, folder)
    print_notes(result.notes)
    for sentence in _describe_faces(found.mistakes, root) if root else ():
        typer.echo(sentence, err=True)
    typer.echo(f"Written to {folder / PAGE}")


def _choose_out(runs: list[Path], out: Path | None) -> Path:
    """The folder to write to; raises ConfigError where several runs leave it open."""
    from threeages.errors import ConfigError

    if out:
        return out
    if len(runs) > 1:
        raise ConfigError(f"{len(runs)} runs were given without a folder to write to.", hint="Add --out.")
    return runs[0] if runs[0].is_dir() else runs[0].parent


def _check_root(root: Path | None) -> None:
    """Raise ConfigError unless it is a folder."""
    from threeages.errors import ConfigError

    if root and not root.is_dir():
        raise ConfigError(
            f"{root} is no folder.", hint="Give the one that the paths of the predictions are relative to."
        )


def _describe_faces(mistakes: Sequence["Mistake"], root: Path) -> Iterator[str]:
    """What the reader should know of the faces in the page, a sentence each."""
    shown = sum(bool(mistake.picture) for mistake in mistakes)
    if shown:
        yield describe_faces("The page holds")
    if shown < len(mistakes):
        yield f"{len(mistakes) - shown:,} of {format_count(mistakes, 'face')} cannot be read below {root}."


def _summarize(model: str, table: "PredictionTable", measured: "ThresholdReport | None") -> "ModelSummary":
    from threeages.evaluation.report_parts import summarize_model
    from threeages.inference.runtime import OnnxModel

    path = find_model(model)
    return summarize_model(OnnxModel(path), path.name if model == str(path) else model, path, table, measured)
