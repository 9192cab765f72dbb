"""The model that --model names: 'default', 'large', an ONNX file or a run folder; and how to get one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from threeages.inference.predictor import Predictor

TERMS = (
    "Terms: both were fitted on faces that are for research use only, the large one on features of CLIP's\n"
    "image encoder (MIT). Ask the holders of the data before any commercial use."
)

models_app = typer.Typer()


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models that have a name: where each is, its size, and whether it is as it was written.

    The large model is more accurate and slower; 'threeages models fetch large' gets it.
    """
    if context.invoked_subcommand:
        return
    from threeages.inference.named import NAMES

    for name in NAMES:
        _print_model(name)
    typer.echo(TERMS)


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The model: large.")],
    encoder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A file that holds CLIP's image encoder: model.safetensors of openai/clip-vit-base-patch16, "
            "or what tools/fetch_weights.py writes. Without it the hub is asked (HF_ENDPOINT).",
        ),
    ] = None,
) -> None:
    """Fetch CLIP's image encoder, check it, and write the large model to the user's cache.

    The only command that opens a connection for a model, and only without --from.
    """
    from threeages.errors import ConfigError, ModelError
    from threeages.files.disk import format_bytes
    from threeages.inference.named import LARGE, LARGE_MODEL

    if name != LARGE:
        raise ConfigError(f"There is no model '{name}' to fetch.", hint=f"Allowed: {LARGE}.")
    try:
        typer.echo(f"The large model is there: {LARGE_MODEL.find()}")
    except ModelError:
        path = LARGE_MODEL.fetch(encoder)
        typer.echo(f"Written and verified: {path} ({format_bytes(path.stat().st_size)})")


def _print_model(name: str) -> None:
    """A line with the model's size, checksum and file, or with what is wrong and what to do."""
    from threeages.bundled import check_bundled
    from threeages.errors import ModelError
    from threeages.files.checksums import checksum
    from threeages.files.disk import format_bytes
    from threeages.inference.named import find_model_file

    try:
        path = find_model_file(name)
        check_bundled(path)
        size = format_bytes(path.stat().st_size)
        typer.echo(f"{name:8} {size:>8}  verified ({checksum(path)})  {path}")
    except ModelError as error:
        typer.echo(f"{name:8} {error.message} {error.hint}")


def open_predictor(
    model: str,
    no_detect: bool,
    max_error: float | None = None,
    coverage: float | None = None,
    device: str = "cpu",
    brackets: str | None = None,
) -> "Predictor":
    """Load the predictor of a --model value."""
    from threeages.inference.predictor import load_predictor

    return load_predictor(
        find_model(model),
        detect=not no_detect,
        max_error=max_error,
        coverage=coverage,
        device=device,
        brackets=brackets,
    )


def find_model(model: str) -> Path:
    """The ONNX file of a --model value; exports a run folder whose checkpoint is newer than its ONNX file."""
    from threeages.inference.named import find_model_file

    path = find_model_file(model)
    return _exported(path) if path.is_dir() else path


def _exported(run: Path) -> Path:
    """The ONNX file of a run folder, exported from its best checkpoint where it is older or damaged."""
    from threeages.data.train_digests import load_train_digests
    from threeages.export.to_onnx import export_onnx
    from threeages.training.checkpoint import BEST, load_checkpoint

    path, best = run / "model.onnx", run / BEST
    if not path.exists() or (best.exists() and _is_old(path, best)):
        export_onnx(load_checkpoint(run)[0], path, digests=load_train_digests(run))
    return path


def _is_old(path: Path, best: Path) -> bool:
    """Whether an export is older than its checkpoint, or not as it was written."""
    from threeages.errors import ModelError
    from threeages.inference.model_checksum import check_model

    if best.stat().st_mtime > path.stat().st_mtime:
        return True
    try:
        check_model(path)
    except ModelError as error:
        typer.echo(f"{error.message} It is exported again.", err=True)
        return True
    return False
