"""The model that --model names: 'default', an ONNX file or a run folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from threeages.inference.predictor import Predictor


def open_predictor(
    model: str,
    no_detect: bool,
    max_error: float | None = None,
    coverage: float | None = None,
    device: str = "cpu",
) -> "Predictor":
    """Load the predictor of a --model value."""
    from threeages.inference.predictor import load_predictor

    return load_predictor(
        find_model(model), detect=not no_detect, max_error=max_error, coverage=coverage, device=device
    )


def find_model(model: str) -> Path:
    """The ONNX file of a --model value; exports a run folder whose checkpoint is newer than its ONNX file."""
    from threeages.inference.runtime import default_model_path

    path = default_model_path() if model == "default" else Path(model)
    return _exported(path) if path.is_dir() else path


def _exported(run: Path) -> Path:
    """The ONNX file of a run folder, exported from its best checkpoint where it is older or damaged."""
    from threeages.export.to_onnx import export_onnx
    from threeages.training.checkpoint import BEST, load_checkpoint

    path, best = run / "model.onnx", run / BEST
    if not path.exists() or (best.exists() and _is_old(path, best)):
        export_onnx(load_checkpoint(run)[0], path)
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
