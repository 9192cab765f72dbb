"""The command that asks whether a threshold still holds: monitor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from threeages.cli.models import find_model
from threeages.cli.options import ModelOfPredictions, check_share, check_share_or_end
from threeages.cli.output import print_notes, print_rows

if TYPE_CHECKING:
    from threeages.evaluation.drift import AnswerHistogram, DriftState
    from threeages.evaluation.monitoring import RiskState
    from threeages.evaluation.replay import Replay

ROWS_OF_ONE = "Warning: each row counted as an identity of its own; name them in a column identity."


def monitor(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Predictions csv with labels, rows in the order of time, or folders that hold one; several "
            "are joined."
        ),
    ],
    target_error: Annotated[
        float,
        typer.Option(
            callback=check_share, help="Target error rate that the threshold was chosen for, such as 0.1."
        ),
    ],
    model: ModelOfPredictions = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            callback=check_share_or_end,
            help="Confidence from which on rows are answers; by default the model's threshold.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Answers to the calibration set, to find drift: a json file of 'threeages "
                     "thresholds --out', or predictions as above."),
    ] = None,
    level: Annotated[
        float,
        typer.Option(callback=check_share, help="Probability of a false alarm over the whole stream."),
    ] = 0.05,
    out: Annotated[Path | None, typer.Option("--out", help="Json file to write the result to.")] = None,
) -> None:  # fmt: skip
    """Test whether a threshold still holds on a stream of labelled answers; exit code 1 on an alarm.

    A betting martingale looks after every answer whether they err more often than the target error rate. With
    a reference it also tests whether the answers drifted, which needs no label.
    """
    from dataclasses import asdict

    from threeages.cli.answering import choose_model
    from threeages.evaluation.joining import join_runs
    from threeages.evaluation.replay import replay_table
    from threeages.files.writing import write_json
    from threeages.inference.runtime import OnnxModel

    table = join_runs(predictions)
    if min_confidence is None:
        chosen = choose_model(model, [table.provenance], otherwise="Or give --min-confidence.")
        min_confidence = OnnxModel(find_model(chosen)).signature.confidence_for(target_error)
    histogram = _load_histogram(reference) if reference else None
    found = replay_table(table, target_error, min_confidence, reference=histogram, level=level)
    if out:
        write_json(out, asdict(found) | {"min_confidence": min_confidence})
    _print_replay(found, min_confidence)
    if found.risk.alarm or (found.drift and found.drift.alarm):
        raise typer.Exit(1)


def _load_histogram(path: Path) -> "AnswerHistogram":
    from threeages.evaluation.drift import load_reference
    from threeages.evaluation.predictions import load_predictions
    from threeages.evaluation.replay import create_histogram

    return load_reference(path) if path.suffix == ".json" else create_histogram(load_predictions(path))


def _print_replay(found: "Replay", min_confidence: float) -> None:
    what = "identities" if found.by_identity else "answers"
    typer.echo(
        f"{found.risk.n:,} {what} with a label and a confidence of {min_confidence:.3f} or more; "
        f"{found.unsure:,} less sure and {found.unlabelled:,} without a label left out"
    )
    if not found.by_identity:
        typer.echo(ROWS_OF_ONE)
    print_rows(
        ["watched", what, "found", "e-value", "alarm from", "alarm at"],
        [_risk_row(found.risk), *(_drift_rows(found.drift) if found.drift else [])],
    )
    print_notes(_list_alarms(found))


def _risk_row(risk: "RiskState") -> list[str]:
    found = f"{risk.risk:.3f} of {risk.target_error:g}" if risk.n else ""
    alarm = "none" if risk.alarm_at is None else f"{risk.alarm_at:,}"
    return ["risk", f"{risk.n:,}", found, f"{risk.e_value:.3g}", f"{1 / risk.level:g}", alarm]


def _drift_rows(drift: "DriftState") -> list[list[str]]:
    alarm = "none" if drift.alarm_at is None else f"{drift.alarm_at:,}"
    bound = f"{len(drift.e_values) / drift.level:g}"
    return [
        [f"drift of {name.replace('_', ' ')}", f"{drift.n:,}", "", f"{value:.3g}", bound, alarm]
        for name, value in drift.e_values.items()
    ]


def _list_alarms(found: "Replay") -> list[str]:
    alarms = []
    if found.risk.alarm_at is not None:
        what = "identities" if found.by_identity else "answers"
        alarms.append(
            f"For a time before the alarm, after {found.risk.alarm_at:,} {what}, they erred more often than "
            f"{found.risk.target_error:g}. Look at those, and measure thresholds on such images: threeages "
            "thresholds."
        )
    if found.drift and found.drift.alarm:
        alarms.append(
            "The answers differ from those of the calibration set: the faces or the images changed. Label "
            "some and look at the risk."
        )
    return alarms
