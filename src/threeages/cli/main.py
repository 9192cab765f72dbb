"""The command line: thin commands over the library; heavy parts are imported where they are used."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from threeages.cli.data import data_app
from threeages.cli.doctor import bundle, doctor
from threeages.cli.evaluate import card, compare, evaluate, thresholds
from threeages.cli.explain import explain, identity_probe, sheet
from threeages.cli.failures import end_with, flush_output, prepare_streams, translate_error
from threeages.cli.hints import find_command, fit_error, list_options
from threeages.cli.hub import pull, push
from threeages.cli.leakage import leakage
from threeages.cli.models import models_app
from threeages.cli.monitor import monitor
from threeages.cli.predict import demo, predict, serve, video
from threeages.cli.report import report
from threeages.cli.signals import stop_on_signals
from threeages.cli.studies import cross_source, ensemble, study, tune
from threeages.cli.train import distill, export, train
from threeages.errors import MissingDependencyError, ThreeAgesError
from threeages.faces.process import configure_process

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
COMMANDS = (
    predict,
    video,
    serve,
    demo,
    train,
    distill,
    export,
    evaluate,
    compare,
    report,
    thresholds,
    monitor,
    card,
    explain,
    sheet,
    identity_probe,
    study,
    cross_source,
    tune,
    ensemble,
    push,
    pull,
    doctor,
    bundle,
)
for command in COMMANDS:
    app.command()(command)
data_app.command()(leakage)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")

EXTRAS = {  # module that a command needs, and the extra that installs it
    **dict.fromkeys(("torch", "sklearn", "lightning_fabric", "onnx", "safetensors"), "train"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client", "python_multipart"), "serve"),
    **dict.fromkeys(("captum", "concept_erasure"), "explain"),
    **dict.fromkeys(("jinja2", "markdown_it"), "report"),
}


def main() -> None:
    """Run the command line; the one place that turns errors and signals into messages and exit codes."""
    configure_process()
    prepare_streams()
    try:
        with stop_on_signals():
            _run()
    except ThreeAgesError as error:
        raise end_with(_fit_error(error)) from None
    except BrokenPipeError:  # `threeages predict ... | head`
        sys.stderr.close()
        raise SystemExit(1) from None
    except (OSError, MemoryError) as error:
        raise end_with(_fit_error(translate_error(error))) from None
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise end_with(str(MissingDependencyError(error.name or "", extra))) from None


def _run() -> None:
    """Run the command until all that it printed is written out."""
    try:
        app()
    except SystemExit:
        flush_output()
        raise


def _fit_error(error: ThreeAgesError) -> str:
    """The message of an error, whose hint names only options that the given command has."""
    options = list_options(list_commands())
    return fit_error(error, find_command(sys.argv[1:], options), options)


def list_commands() -> dict[str, Any]:
    """Every command by its full name, such as `threeages data import`."""
    return dict(_walk(typer.main.get_command(app), "threeages"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield name, command
    for child, sub in children.items():
        yield from _walk(sub, f"{name} {child}")


def _print_version(given: bool) -> None:
    if given:
        import threeages

        typer.echo(threeages.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Which age group is this face: YOUNG, MIDDLE or OLD?"""
