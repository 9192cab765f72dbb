"""Any backbone of the timm library by its name there."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from threeages.errors import ConfigError, MissingDependencyError
from threeages.models.heads import DEFAULT_HEADS, HeadSpec
from threeages.models.network import Backbone, Network
from threeages.signature import Signature

PREFIX = "timm/"
DROPOUT = 0.2


def timm_network(name: str, heads: Sequence[HeadSpec] = DEFAULT_HEADS, *, input_size: int = 128) -> Network:
    """Normalised float `(n, 3, size, size)` to logits, with fresh weights; `name` begins with 'timm/'.

    The backbone with its own pooling is one stage. Raises as create_timm.
    """
    body = create_timm(name, input_size=input_size)
    return Network(
        Backbone(nn.Sequential(body), nn.Identity(), body.num_features, nn.Dropout(DROPOUT)), heads
    )


def timm_signature(name: str, input_size: int) -> Signature:
    """The preprocessing that the weights of timm's model were trained with; raises as create_timm."""
    settings = create_timm(name, input_size=input_size).pretrained_cfg
    mean, std = (tuple(255 * float(v) for v in settings[key]) for key in ("mean", "std"))
    return Signature(name, input_size, mean, std)  # type: ignore[arg-type]


def create_timm(name: str, *, pretrained: bool = False, input_size: int | None = None) -> Any:
    """timm's module without its classifier, float `(n, 3, size, size)` to `(n, num_features)`.

    Raises MissingDependencyError without timm, ConfigError for a name that timm does not have.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError("timm", "timm") from error
    own = name.removeprefix(PREFIX)
    if not timm.is_model(own):
        close = ", ".join(timm.list_models(f"*{own.split('_')[0]}*")[:5])
        raise ConfigError(f"timm has no model '{own}'.", hint=f"Similar: {close or 'none'}.")
    # only those with a fixed position grid, such as ViT, take or need the size
    sized = {"img_size": input_size} if input_size and own.startswith(("vit", "deit", "beit", "swin")) else {}
    return timm.create_model(own, pretrained=pretrained, num_classes=0, **sized)
