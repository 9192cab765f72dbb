"""Weights with their signature, architecture, settings and training state, written atomically."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from threeages.errors import ModelError, describe_cause
from threeages.files import atomic_path
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import HeadSpec
from threeages.signature import Signature

BEST = "best.ckpt"  # the model that a training gives: of its best epoch, or of its last where so configured
LAST = "last.ckpt"  # the state that a training resumes from


def save_checkpoint(path: Path, model: Classifier, **state: Any) -> None:
    """Write the model and any plain or tensor state; the old file stays until the new one is complete."""
    content = {
        "signature": asdict(model.signature),
        "architecture": asdict(model.architecture),
        "model": model.state_dict(),
        **state,
    }
    with atomic_path(path) as part:
        torch.save(content, part)


def load_checkpoint(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """(model in eval mode, the other state) of a checkpoint or of a run folder's `best.ckpt`.

    Raises ModelError where there is no file, or one that is no checkpoint of this package.
    """
    if path.is_dir():
        path = path / BEST
    state = _read(path)
    try:
        signature = Signature(**state.pop("signature"))
        parts = state.pop("architecture")
        heads = tuple(HeadSpec(**head) for head in parts["heads"])
        weights = state.pop("model")
    except (KeyError, TypeError, AttributeError) as error:
        raise _foreign(path, "it lacks a part of one") from error
    model = create_classifier(signature, Architecture(heads, parts["options"]))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise _foreign(path, describe_cause(error)) from error
    return model.eval(), state


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"There is no checkpoint {path}.", hint="Give a run folder that holds best.ckpt."
        ) from error
    except Exception as error:  # torch raises pickle, zip, key and runtime errors on foreign files
        raise _foreign(path, describe_cause(error)) from error
    return state


def _foreign(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} is not a checkpoint of threeages: {reason}.", hint="Train one: threeages train."
    )
