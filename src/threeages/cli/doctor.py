"""The doctor: its table and its json, and the bundle for machines without network."""

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from threeages.doctor.findings import Finding

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Check this installation: versions, devices, memory, files, extras, and answers to known photos.

    A line for each check says ok, warning or fault, and what to do; exit code 1 where there is a fault.
    Nothing is sent or written, and the output can be pasted into an issue.
    """
    from threeages.doctor.checks import diagnose
    from threeages.doctor.findings import worst_verdict

    with _show_work():
        findings = list(diagnose())
    verdict = worst_verdict(findings)
    if as_json:
        content = {"verdict": verdict, "findings": [finding.to_dict() for finding in findings]}
        typer.echo(json.dumps(content, indent=2))
    else:
        _print_findings(findings)
    if verdict == "fault":
        raise typer.Exit(1)


def _show_work() -> "AbstractContextManager[object]":
    """A line on stderr while the checks run, where that is a terminal."""
    from rich.console import Console

    return (
        Console(stderr=True).status("Checking this installation ...")
        if sys.stderr.isatty()
        else nullcontext()
    )


def _print_findings(findings: "Sequence[Finding]") -> None:
    """A line for each finding with its advice below, and one line for all of them."""
    from rich.table import Table
    from rich.text import Text

    from threeages.cli.output import create_console
    from threeages.doctor.findings import select_verdict
    from threeages.errors import format_count

    table = Table.grid("check", "verdict", "found", padding=(0, 2, 0, 0))
    for finding in findings:
        found = Text(finding.found)
        if finding.advice:
            found.append(f"\n{finding.advice}", style="bold")
        table.add_row(finding.check, Text(finding.verdict, STYLES[finding.verdict]), found)
    create_console().print(table)
    faults, warnings = (select_verdict(findings, verdict) for verdict in ("fault", "warning"))
    typer.echo(f"\n{format_count(faults, 'fault')}, {format_count(warnings, 'warning')}.")


def bundle(
    folder: Annotated[Path, typer.Argument(help="New or empty folder for the bundle.")],
    extra: Annotated[
        list[str] | None, typer.Option(help="An extra to bundle too, such as serve; repeatable.")
    ] = None,
    large: Annotated[
        bool, typer.Option("--large", help="Add the large model, which was fetched before.")
    ] = False,
    verify: Annotated[
        bool, typer.Option(help="Install the bundle into a fresh environment without an index, and test it.")
    ] = True,
) -> None:
    """Make a folder that installs and runs without network, on machines with this system and Python.

    It holds the wheels of this package and of what it needs in the versions installed here, an installer and
    checksums. pip gets the wheels as it is configured; only this command needs its index.
    """
    from threeages.cli.output import show_log
    from threeages.files.disk import format_bytes
    from threeages.offline.bundle import create_bundle

    show_log()
    create_bundle(folder, extras=extra or (), large=large, verify=verify)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    state = "installed and tested without an index" if verify else "not tested"
    typer.echo(f"{folder}: {format_bytes(size)}, {state}. On the other machine: python3 install.py")
