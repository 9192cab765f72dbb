"""Pretrained weights: the package's own, from the hub, a local file, or random ones on request."""

import json
import zlib
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from threeages.bundled import ASSETS, check_bundled
from threeages.errors import ModelError, ThreeAgesError, describe_cause, format_count
from threeages.files.writing import write_bytes
from threeages.models.classifier import Classifier
from threeages.models.registry import Pretrained, find_model
from threeages.models.timm_network import PREFIX, create_timm

RANDOM = "random"
ABOUT = "threeages"  # the one key of a file's metadata: with several, their order on disk is not fixed
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
        _check_values(found, weights or f"of {name}")
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
    """Tensors of a safetensors file by name.

    Raises ModelError where it cannot be read, or is not as `save_weights` wrote it: the format itself has no
    checksum.
    """
    return _read(path)[0]


def _check_values(found: Weights, weights: str) -> None:
    """Raise ModelError where another program's weights hold what no network learns: they have no checksum."""
    damaged = next((name for name, value in found.items() if _is_damaged(value)), None)
    if damaged:
        raise ModelError(
            f"The weights {weights} are damaged: '{damaged}' holds zeros alone, or what is no number.",
            hint=f"Take a copy, or download them again. {HINT}",
        )


def _is_damaged(value: Tensor) -> bool:
    """Whether a network cannot have learned these; one row of zeros may well be a bias."""
    if not value.is_floating_point() or not value.numel():
        return False
    return not bool(value.isfinite().all()) or (value.ndim > 1 and not bool(value.any()))


def read_about(path: Path) -> dict[str, Any] | None:
    """What `save_weights` was told of them; None where another program wrote the file.

    Raises ModelError as `read_weights` does.
    """
    return _read(path)[1]


def save_weights(path: Path, weights: Weights, about: Mapping[str, Any]) -> None:
    """Write tensors whole and durably, with their checksum and what else is to be known of them, for json.

    Raises DataError where the file cannot be written.
    """
    tensors = {name: value.contiguous().cpu() for name, value in weights.items()}
    text = json.dumps(about, sort_keys=True)
    note = json.dumps({"checksum": _checksum(tensors, text), "about": text})
    write_bytes(path, save(tensors, {ABOUT: note}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            note = (file.metadata() or {}).get(ABOUT)
    except Exception as error:  # safetensors raises its own error, OSError or FileNotFoundError
        raise ModelError(f"Cannot load the weights {path}: {describe_cause(error)}.", hint=HINT) from error
    return tensors, None if note is None else _check_note(path, tensors, note)


def _check_note(path: Path, tensors: Weights, note: str) -> dict[str, Any]:
    """What the note says of the tensors; raises ModelError where either was damaged."""
    try:
        held = json.loads(note)
        if held["checksum"] == _checksum(tensors, held["about"]):
            return dict(json.loads(held["about"]))
    except (ValueError, KeyError, TypeError):
        pass
    raise ModelError(
        f"The weights {path} are damaged: their content is not what was written.",
        hint="Take a copy, or remove the file and make it again, as by threeages distill.",
    )


def _checksum(tensors: Weights, about: str) -> str:
    """A digest against damage: CRC-32 of names, types, shapes and values."""
    crc = zlib.crc32(about.encode())
    for name in sorted(tensors):
        value = tensors[name]
        crc = zlib.crc32(f"{name}:{value.dtype}:{tuple(value.shape)}".encode(), crc)
        crc = zlib.crc32(value.flatten().view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def fetch_weights(name: str, pretrained: Pretrained) -> Weights:
    """Published tensors by name, of the package's own file where it has one, else of the hub.

    Raises ModelError where they only come as a file, or the hub cannot be reached.
    """
    if pretrained.bundled:
        check_bundled(ASSETS / pretrained.bundled)
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
