"""Every model by name: how it is built, its preprocessing, where its pretrained weights come from."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from threeages.errors import ConfigError, describe_cause
from threeages.models.attention import attention_cnn
from threeages.models.cnn import cnn, cnn_lstm
from threeages.models.heads import HeadSpec
from threeages.models.mobilenet_v1 import GREY, fold_preprocessing, mobilenet_v1_face, rename_published
from threeages.models.mobilenet_v2 import mobilenet_v2
from threeages.models.network import Network
from threeages.models.resnet import from_torchvision, resnet50
from threeages.models.timm_network import PREFIX, timm_network, timm_signature
from threeages.models.vit import clip_vit_b16, rename_clip
from threeages.signature import Signature

OTHER_MODEL = (  # a recipe's options are those of its own model
    " They stand in the recipe: for another model than the recipe's, give --recipe a json file with its "
    "options, or a recipe of that model."
)
TORCH_HUB = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Pretrained:
    """Where the published weights of a model come from, and how they become the weights of its `features`.

    `rename` turns a published key into one of `features`; `convert` then changes the renamed tensors where
    the published model takes other input than the signature says. The weights are a file of this package
    (`bundled`, in assets/) or on the hub (`hub`, an address or timm's name); else the user gives a file.
    """

    rename: Callable[[str], str]
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None
    bundled: str | None = None
    hub: str | None = None


@dataclass(frozen=True)
class ModelEntry:
    """A model: `build(heads, **options)` makes its network, with `input_size=` where that sets weights."""

    build: Callable[..., Network]
    signature: Signature
    pretrained: Pretrained | None = None


def _imagenet(name: str) -> Signature:
    return Signature(name, 128, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def _strip_features(key: str) -> str:
    return key.removeprefix("features.")


def _rename_timm(key: str) -> str:
    return f"0.{key}"  # the backbone is the only stage


# each model's own preprocessing: the reference study got it wrong for two of its backbones
MODELS: dict[str, ModelEntry] = {
    "cnn": ModelEntry(cnn, Signature("cnn", 128)),
    "cnn_lstm": ModelEntry(cnn_lstm, Signature("cnn_lstm", 128)),
    "attention_cnn": ModelEntry(attention_cnn, Signature("attention_cnn", 160)),
    "resnet50": ModelEntry(  # the study's: Keras' ImageNet weights
        resnet50,
        Signature("resnet50", 128, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0)),
        Pretrained(from_torchvision),
    ),
    "mobilenet_v2": ModelEntry(
        mobilenet_v2,
        _imagenet("mobilenet_v2"),
        Pretrained(_strip_features, hub=f"{TORCH_HUB}mobilenet_v2-b0353104.pth"),
    ),
    "mobilenet_v1_face": ModelEntry(
        mobilenet_v1_face,
        Signature(
            "mobilenet_v1_face",
            224,
            mean=(GREY, GREY, GREY),
            std=(1.0, 1.0, 1.0),
            margin=0.03,
            alignment=0.85,
        ),
        Pretrained(rename_published, fold_preprocessing, bundled="mobilenet_v1_face.safetensors"),
    ),
    "clip_vit_b16": ModelEntry(
        clip_vit_b16,
        Signature(
            "clip_vit_b16", 224, mean=(122.771, 116.746, 104.094), std=(68.5, 66.632, 70.323), margin=0.03
        ),
        Pretrained(rename_clip),
    ),
}
SIGNATURES = {name: entry.signature for name, entry in MODELS.items()}


def find_model(name: str) -> ModelEntry:
    """The entry of a model; raises ConfigError, which names those there are.

    The signature of one of timm's is without its mean and scale, which only timm knows: see create_signature.
    """
    if name in MODELS:
        return MODELS[name]
    if name.startswith(PREFIX):
        pretrained = Pretrained(_rename_timm, hub=name)
        return ModelEntry(partial(timm_network, name), Signature(name, 128), pretrained)
    raise ConfigError(
        f"There is no model '{name}'.", hint=f"Allowed: {', '.join(MODELS)}, and {PREFIX}NAME for timm's."
    )


def create_signature(
    name: str, input_size: int, *, alignment: float | None = None, double_scaling: bool = False
) -> Signature:
    """A model's preprocessing at a size, with its own alignment of faces where None is given.

    `double_scaling` is the reference study's mistake: pixels are divided by 255 first and then
    preprocessed as if they were not, so that the backbone sees one and the same grey everywhere.
    Raises ConfigError for an unknown name.
    """
    found = find_model(name).signature
    found = (
        timm_signature(name, input_size) if name.startswith(PREFIX) else replace(found, input_size=input_size)
    )
    if alignment is not None:
        found = replace(found, alignment=alignment)
    if not double_scaling:
        return found
    mean, std = (tuple(255 * v for v in values) for values in (found.mean, found.std))
    return replace(found, mean=mean, std=std)  # type: ignore[arg-type]


def build_network(signature: Signature, heads: Sequence[HeadSpec], options: Mapping[str, Any]) -> Network:
    """The network that a signature names, with fresh weights.

    Raises ConfigError for an option that its builder does not have, and for a value that it cannot take; the
    names of its options are those of the builder's keywords.
    """
    build = find_model(signature.name).build
    keywords = inspect.signature(build).parameters.keys() - {"heads"}
    allowed = sorted(keywords - {"input_size"})
    if unknown := sorted(options.keys() - allowed):
        raise ConfigError(
            f"The model {signature.name} has no option {', '.join(unknown)}.",
            hint=(f"Allowed: {', '.join(allowed)}." if allowed else "It has no options.") + OTHER_MODEL,
        )
    size = {"input_size": signature.input_size} if "input_size" in keywords else {}
    try:
        return build(heads, **size, **options)
    except (TypeError, ValueError, RuntimeError) as error:  # of torch, where a number is a list or negative
        if not options:
            raise
        given = ", ".join(f"{name} {value!r}" for name, value in options.items())
        raise ConfigError(
            f"The model {signature.name} cannot be built with {given}: {describe_cause(error)}.",
            hint="Change the options in the recipe's json file.",
        ) from error
