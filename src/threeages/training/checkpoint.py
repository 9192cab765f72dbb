"""Weights with their signature, architecture, settings and training state, written atomically."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from threeages.errors import describe_cause
from threeages.files.writing import write_bytes
from threeages.models.classifier import Architecture, Classifier, create_classifier
from threeages.models.heads import HeadSpec
from threeages.signature import Signature
from threeages.training.state_file import foreign_error, read_content, serialize_content

BEST = "best.ckpt"  # the model that a training gives: of its best epoch, or of its last where so configured
LAST = "last.ckpt"  # the state that a training resumes from; what else is in the folder is written from it
PREVIOUS = "previous.ckpt"  # the state before it


def save_checkpoint(path: Path, model: Classifier, **state: Any) -> None:
    """Write the model and any plain or tensor state; the old file stays until the new one is complete."""
    write_bytes(path, serialize_content({**describe_model(model), **state}))


def describe_model(model: Classifier) -> dict[str, Any]:
    """What a checkpoint holds of a model: preprocessing, architecture and weights."""
    return {
        "signature": asdict(model.signature),
        "architecture": asdict(model.architecture),
        "model": model.state_dict(),
    }


def load_checkpoint(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """(model in eval mode, the other state) of a checkpoint or of a run folder's `best.ckpt`.

    Raises DamagedError where a bit of it is not as it was written, and ModelError where there is no file, or
    one that is no checkpoint of this package.
    """
    if path.is_dir():
        path = path / BEST
    hint = _choose_hint(path)
    state = read_content(path, hint)
    return create_from_content(path, state, hint), state


def create_from_content(path: Path, state: dict[str, Any], hint: str) -> Classifier:
    """The model in eval mode of what `path` holds, whose keys are taken out; raises ModelError."""
    try:
        signature = Signature(**state.pop("signature"))
        parts: Mapping[str, Any] = state.pop("architecture")
        heads = tuple(HeadSpec(**head) for head in parts["heads"])
        weights = state.pop("model")
        model = create_classifier(signature, Architecture(heads, parts["options"]))
        model.load_state_dict(weights)
    except (KeyError, TypeError, AttributeError) as error:
        raise foreign_error(path, "it lacks a part of one", hint) from error
    except RuntimeError as error:
        raise foreign_error(path, describe_cause(error), hint) from error
    return model.eval()


def _choose_hint(path: Path) -> str:
    """What to do where a checkpoint cannot be loaded."""
    if path.name == BEST and any((path.parent / name).exists() for name in (LAST, PREVIOUS)):
        return f"Run the same threeages train command again: it writes {BEST} again from {LAST}."
    if path.exists():
        return "Copy it again from where it is whole, or train a model: threeages train."
    return f"Give a run folder that holds {BEST}, or train a model: threeages train."
