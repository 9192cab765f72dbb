"""Named full configurations; measured scores stand in results/."""

from collections.abc import Callable

from threeages.config import TrainConfig
from threeages.errors import ConfigError


def reference_cnn() -> TrainConfig:
    """The reference study's four-block CNN: 128 px, Adam at 1e-3, batch 32, 10 epochs.

    Command: `threeages train MANIFEST --recipe reference-cnn --split random`. The study published 0.770 on
    its random 80/20 split. Cost: 160,000 training images; about 45 minutes on 2 cores without AVX-512.
    """
    return TrainConfig()


def face_probe() -> TrainConfig:
    """A linear head on frozen MobileNet-v1 features pretrained on faces, 224 px: the default model.

    Command: `threeages train MANIFEST --recipe face-probe --weights mobilenet_v1_face_age.safetensors
    --split people`. Cost: one pass over the images (about 6 minutes on 2 cores), then seconds a fold.
    """
    return TrainConfig(model="mobilenet_v1_face", method="probe", input_size=224, split="people", weights="?")


RECIPES: dict[str, Callable[[], TrainConfig]] = {"reference-cnn": reference_cnn, "face-probe": face_probe}


def create_recipe(name: str) -> TrainConfig:
    """The configuration of a recipe by name; raises ConfigError with the names there are."""
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe '{name}'.", hint=f"Allowed: {', '.join(RECIPES)}.")
    return RECIPES[name]()
