"""Weights with their signature, architecture, settings and training state, written atomically."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from threeages.errors import ModelError
from threeages.files import atomic_path
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import HeadSpec
from threeages.signature import Signature

BEST, LAST = "best.ckpt", "last.ckpt"


def save_checkpoint(path: Path, model: Classifier, **state: Any) -> None:
    """Write the model and any plain or tensor state; the old file stays until the new one is whole."""
    content = {
        "signature": asdict(model.signature),
        "architecture": asdict(model.architecture),
        "model": model.state_dict(),
        **state,
    }
    with atomic_path(path) as part:
        torch.save(content, part)


def load_checkpoint(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """(model in eval mode, the other state); raises ModelError where the file is not ours."""
    if path.is_dir():
        path = path / BEST
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        signature = Signature(**state.pop("signature"))
        parts = state.pop("architecture", {"heads": [{}], "options": {}})
        heads = tuple(HeadSpec(**head) for head in parts["heads"])
        model = create_classifier(signature, Architecture(heads, parts["options"]))
        model.load_state_dict(state.pop("model"))
    except FileNotFoundError as error:
        raise ModelError(
            f"There is no checkpoint {path}.", hint="Give a run folder that holds best.ckpt."
        ) from error
    except Exception as error:  # torch raises pickle, zip, key and runtime errors on foreign files
        raise ModelError(
            f"{path} is not a checkpoint of threeages.", hint="Train one: threeages train."
        ) from error
    return model.eval(), state
