"""Every model by name: how it is built, its preprocessing, where its pretrained weights come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from threeages.errors import ConfigError
from threeages.models.attention import attention_cnn
from threeages.models.cnn import cnn, cnn_lstm
from threeages.models.heads import HeadSpec
from threeages.models.mobilenet_v1 import GREY, MobileNetV1, fold_preprocessing, rename_published
from threeages.models.mobilenet_v2 import mobilenet_v2
from threeages.models.network import Network
from threeages.models.resnet import from_torchvision, resnet50
from threeages.models.timm_network import PREFIX, timm_network, timm_signature
from threeages.models.vit import VisionTransformer, rename_clip
from threeages.signature import Signature

TORCH_HUB = "https://download.pytorch.org/models/"


@dataclass(frozen=True)
class Model:
    """`rename` turns a key of the published weights into one of `features`; None: there are no such weights.

    `hub` is the address of the weights, '' where they only come as a file; `bundled` a file of the package.
    """

    build: Callable[..., Network]
    signature: Signature
    rename: Callable[[str], str] | None = None
    hub: str = ""
    bundled: str = ""
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict  # the renamed weights to the signature's


def _imagenet(name: str) -> Signature:
    return Signature(name, 128, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def _mobilenet_v1_face(_: int, heads: Sequence[HeadSpec], **options: Any) -> Network:
    return MobileNetV1(heads, **options)


def _own_features(key: str) -> str:
    return key.removeprefix("features.")


# each model's own preprocessing: the reference study got it wrong for two of its backbones
MODELS: dict[str, Model] = {
    "cnn": Model(cnn, Signature("cnn", 128)),
    "cnn_lstm": Model(cnn_lstm, Signature("cnn_lstm", 128)),
    "attention_cnn": Model(attention_cnn, Signature("attention_cnn", 160)),
    "resnet50": Model(  # the study's: Keras' ImageNet weights
        resnet50,
        Signature("resnet50", 128, mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0)),
        from_torchvision,
    ),
    "resnet50_v1_5": Model(
        partial(resnet50, stride_first=False),
        _imagenet("resnet50_v1_5"),
        from_torchvision,
        TORCH_HUB + "resnet50-0676ba61.pth",
    ),
    "mobilenet_v2": Model(
        mobilenet_v2, _imagenet("mobilenet_v2"), _own_features, TORCH_HUB + "mobilenet_v2-b0353104.pth"
    ),
    "mobilenet_v1_face": Model(
        _mobilenet_v1_face,
        Signature(
            "mobilenet_v1_face",
            224,
            mean=(GREY, GREY, GREY),
            std=(1.0, 1.0, 1.0),
            margin=0.03,
            alignment=0.85,
        ),
        rename_published,
        bundled="mobilenet_v1_face.safetensors",
        adapt=fold_preprocessing,
    ),
    "clip_vit_b16": Model(
        VisionTransformer,
        Signature(
            "clip_vit_b16", 224, mean=(122.771, 116.746, 104.094), std=(68.5, 66.632, 70.323), margin=0.03
        ),
        rename_clip,
    ),
}
SIGNATURES = {name: model.signature for name, model in MODELS.items()}


def find_model(name: str) -> Model:
    """The entry of a model; raises ConfigError, which names those there are."""
    if name in MODELS:
        return MODELS[name]
    if name.startswith(PREFIX):
        build = partial(timm_network, name)
        return Model(build, Signature(name, 128), lambda key: f"0.{key}", hub=name)
    raise ConfigError(
        f"There is no model '{name}'.", hint=f"Allowed: {', '.join(MODELS)}, and {PREFIX}NAME for timm's."
    )


def create_signature(
    name: str, input_size: int, *, alignment: float | None = None, double_scaling: bool = False
) -> Signature:
    """A model's preprocessing at a size, with its own alignment of faces where None is given.

    `double_scaling` is the reference study's mistake: pixels are divided by 255 first and then
    preprocessed as if they were not, so that the backbone sees one and the same grey everywhere.
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


def build_network(signature: Signature, heads: Sequence[HeadSpec], options: dict[str, Any]) -> Network:
    """The network that a signature names, with fresh weights; raises ConfigError on options it lacks."""
    try:
        return find_model(signature.name).build(signature.input_size, heads, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{signature.name} does not take the options {options}.",
            hint="cnn has filters, kernels and dense, cnn_lstm hidden, attention_cnn four dropouts, "
            "mobilenet_v1_face and clip_vit_b16 hidden and dropout.",
        ) from error
