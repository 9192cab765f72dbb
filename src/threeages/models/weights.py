"""Pretrained weights: the package's own, from the hub, a local file, or random ones on request."""

from collections.abc import Callable, Container, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from threeages.errors import ModelError, ThreeAgesError, describe_cause, format_count
from threeages.models.classifier import Classifier
from threeages.models.registry import Pretrained, find_model
from threeages.models.timm_network import PREFIX, create_timm

ASSETS = Path(__file__).parents[1] / "assets"
RANDOM = "random"
CLASSIFIERS = ("classifier.", "fc.", "head.")  # of the published weights; the heads here start fresh
HINT = f"Give --weights FILE (safetensors), or --weights {RANDOM} to start from random weights on purpose."

Weights = Mapping[str, Tensor]


def load_pretrained(model: Classifier, weights: str | None = None) -> None:
    """Load pretrained weights into the features of a model: a file, or a folder of `<model>*` files.

    None or '' takes the model's own: the file that this package holds, or those of the hub. 'random' keeps
    the fresh ones. A model without pretrained weights takes only None, '' and 'random'. Raises ModelError
    where the weights cannot be had or belong to another architecture, and never takes random ones instead.
    """
    name = model.signature.name
    pretrained = find_model(name).pretrained
    if weights == RANDOM or (pretrained is None and not weights):
        return
    if pretrained is None:
        raise ModelError(
            f"{name} is trained from scratch, but the weights were '{weights}'.", hint="Leave --weights out."
        )
    published = read_weights(find_file(name, Path(weights))) if weights else fetch_weights(name, pretrained)
    own = model.net.features.state_dict()
    try:
        found = _convert(published, pretrained, own)
        missing, unexpected = model.net.features.load_state_dict(found, strict=False)
    except (RuntimeError, KeyError) as error:  # shapes differ, or what is to be converted is missing
        raise ModelError(f"The weights do not fit {name}: {describe_cause(error)}.", hint=HINT) from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ModelError(
            f"The weights are of another architecture than {name}: "
            f"{format_count(missing, 'tensor')} missing, {len(unexpected)} not known "
            f"({', '.join([*missing, *unexpected][:3])} ...).",
            hint=HINT,
        )


def _convert(published: Weights, pretrained: Pretrained, own: Weights) -> dict[str, Tensor]:
    """float32 weights of `features` by its keys, of published ones or of a file that distillation wrote."""
    if published.keys() == own.keys():  # as `threeages distill` writes them
        return {key: value.float() for key, value in published.items()}
    found = _rename(published, pretrained.rename, own)
    return pretrained.convert(found) if pretrained.convert else found


def _rename(published: Weights, rename: Callable[[str], str], own: Container[str]) -> dict[str, Tensor]:
    """Under the keys of `features`, without the published classifier."""
    names = {key: rename(key) for key in published}
    return {
        new: published[key].float()
        for key, new in names.items()
        if new in own or not (key.startswith(CLASSIFIERS) or new.startswith(CLASSIFIERS))
    }


def find_file(name: str, weights: Path) -> Path:
    """The file itself, or the one of a folder whose name begins with the model's; raises ModelError."""
    if not weights.is_dir():
        return weights
    own = name.removeprefix(PREFIX)
    exact, found = weights / f"{own}.safetensors", sorted(weights.glob(f"{own}*.safetensors"))
    if exact in found:
        return exact
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(
            f"{weights} holds {format_count(found, 'file')} {own}*.safetensors"
            f"{f': {names}' if names else ''}.",
            hint=f"One is needed. {HINT}",
        )
    return found[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name; raises ModelError where it cannot be read."""
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own error, OSError or FileNotFoundError
        raise ModelError(f"Cannot load the weights {path}: {describe_cause(error)}.", hint=HINT) from error


def fetch_weights(name: str, pretrained: Pretrained) -> Weights:
    """Published tensors by name, of the package's own file where it has one, else of the hub.

    Raises ModelError where they only come as a file, or the hub cannot be reached.
    """
    if pretrained.bundled:
        return read_weights(ASSETS / pretrained.bundled)
    if not pretrained.hub:
        raise ModelError(f"The weights of {name} come only as a file, and none was given.", hint=HINT)
    try:
        return _fetch_hub(pretrained.hub)
    except ThreeAgesError:
        raise
    except Exception as error:  # whatever the hub's client raises without a network
        raise ModelError(
            f"Cannot fetch the weights of {name} from the hub: {describe_cause(error)}.", hint=HINT
        ) from error


def _fetch_hub(hub: str) -> Weights:
    if hub.startswith(PREFIX):
        state: Weights = create_timm(hub, pretrained=True).state_dict()
    else:
        state = torch.hub.load_state_dict_from_url(hub, map_location="cpu", check_hash=True)
    return state
