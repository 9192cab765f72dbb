"""Pretrained weights: a local file, by name from the hub, or random where that is asked for."""

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from threeages.errors import ModelError, ThreeAgesError
from threeages.models.classifier import Classifier
from threeages.models.registry import MODELS, Model, find_model
from threeages.models.timm_network import PREFIX, create_timm

ASSETS = Path(__file__).parents[1] / "assets"
RANDOM = "random"
CLASSIFIERS = ("classifier.", "fc.", "head.")  # of the published weights; the heads here start fresh
HINT = f"Give --weights FILE (safetensors), or --weights {RANDOM} to start from random weights on purpose."


def load_pretrained(model: Classifier, weights: str | None = None) -> None:
    """Fill the features as `weights` says: 'random', a file, or a folder of `<model>_*` files.

    None or '' takes the model's own: the file that this package holds, where it does, or those of the hub.

    Raises ModelError where they cannot be had or belong to another architecture; random weights are never
    taken in silence. A model without pretrained weights takes only '' and 'random'.
    """
    name = model.signature.name
    entry = find_model(name)
    if weights == RANDOM or (entry.rename is None and not weights):
        return
    if entry.rename is None:
        raise ModelError(
            f"{name} is trained from scratch, but --weights was '{weights}'.", hint="Leave it out."
        )
    published = read_weights(find_file(name, Path(weights))) if weights else _read_own(name, entry)
    own = model.net.features.state_dict()
    if published.keys() == own.keys():  # as threeages adapt writes them
        entry = replace(entry, rename=str, adapt=dict)
    found = _rename(published, entry, own)
    try:
        missing, unexpected = model.net.features.load_state_dict(entry.adapt(found), strict=False)
    except (RuntimeError, KeyError) as error:  # shapes differ, or what is to be adapted is missing
        raise ModelError(f"The weights do not fit {name}: {error}", hint=HINT) from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ModelError(
            f"The weights are of another architecture than {name}: {len(missing)} are missing, "
            f"{len(unexpected)} not known ({', '.join([*missing, *unexpected][:3])} ...).",
            hint=HINT,
        )


def _rename(published: Mapping[str, Tensor], entry: Model, own: Container[str]) -> dict[str, Tensor]:
    assert entry.rename is not None
    names = {key: entry.rename(key) for key in published}
    return {
        new: published[key].float()
        for key, new in names.items()
        if new in own or not (key.startswith(CLASSIFIERS) or new.startswith(CLASSIFIERS))
    }


def find_file(name: str, weights: Path) -> Path:
    """The file itself, or in a folder the one whose name begins with the model's."""
    if not weights.is_dir():
        return weights
    longer = tuple(other for other in MODELS if other.startswith(name) and other != name)
    own = name.removeprefix(PREFIX)
    fits = [p for p in sorted(weights.glob(f"{own}*.safetensors")) if not p.name.startswith(longer or "/")]
    if not fits:
        raise ModelError(f"{weights} holds no file {own}*.safetensors.", hint=HINT)
    return fits[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name; raises ModelError where it cannot be read."""
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own error, OSError or FileNotFoundError
        raise ModelError(f"Cannot load the weights {path}: {error}", hint=HINT) from error


def _read_own(name: str, entry: Model) -> Mapping[str, Tensor]:
    return read_weights(ASSETS / entry.bundled) if entry.bundled else _fetch(name, entry)


def _fetch(name: str, entry: Model) -> Mapping[str, Tensor]:
    if not entry.hub:
        raise ModelError(f"The weights of {name} come only as a file, and none was given.", hint=HINT)
    try:
        if name.startswith(PREFIX):
            state: Mapping[str, Tensor] = create_timm(name, pretrained=True).state_dict()
        else:
            state = torch.hub.load_state_dict_from_url(entry.hub, map_location="cpu", check_hash=True)
    except ThreeAgesError:
        raise
    except Exception as error:  # whatever the hub's client raises without a network
        raise ModelError(f"Cannot fetch the weights of {name} from the hub: {error}", hint=HINT) from error
    return state
