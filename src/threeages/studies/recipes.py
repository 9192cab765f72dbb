"""The reference study's recipes, and the parts by which studies change a recipe; scores are in results/."""

from dataclasses import replace

from threeages.errors import ConfigError
from threeages.labels import YEARS
from threeages.models.kinds import AGE_GROUP_HEADS
from threeages.training.config import TrainConfig
from threeages.training.recipes import RECIPES as PRODUCT_RECIPES
from threeages.training.recipes import Recipe
from threeages.training.recipes import create_recipe as create_product_recipe


def reference_cnn() -> TrainConfig:
    """The reference study's four-block CNN: 128 px, Adam at 1e-3, batch 32, 10 epochs, a random split.

    Command: `threeages train MANIFEST --recipe reference-cnn`. Cost: 160,000 training images; about 45
    minutes on 2 cores without AVX-512.
    """
    return TrainConfig(split="random")


def corrected_cnn() -> TrainConfig:
    """The same network with mirrored images, a falling learning rate and an early stop."""
    return TrainConfig(epochs=20, lr_decay=0.9, flip=True, patience=4)


def reference_resnet50() -> TrainConfig:
    """ResNet50 frozen for 10 epochs at 1e-4, then its last block (Keras' last 10 layers) for 10 at 1e-5.

    With the study's double scaling, an error: pixels are divided by 255 and then preprocessed as if they
    were not. Cost: one pass over the images, then the last block's epochs.
    """
    return TrainConfig(
        model="resnet50",
        split="random",
        head_epochs=10,
        head_lr=1e-4,
        epochs=10,
        lr=1e-5,
        unfreeze=1,
        preprocessing="scaled_twice",
    )


def scaled_resnet50() -> TrainConfig:
    """`reference-resnet50` without the double scaling and nothing else changed: what the error cost."""
    return replace(reference_resnet50(), preprocessing="published")


def corrected_resnet50() -> TrainConfig:
    """Right preprocessing, learning rates that fit the phases (1e-3, then 1e-4 falling) and an early stop."""
    return replace(scaled_resnet50(), split="identity", head_lr=1e-3, lr=1e-4, lr_decay=0.8, patience=3)


def reference_mobilenet_v2() -> TrainConfig:
    """MobileNetV2 as `reference-resnet50`.

    Its last two blocks train in the second phase. Keras' last 10 layers are these but for the 1x1 expansion
    at their entry, which here trains too. The weights are torchvision's, with their own preprocessing.
    """
    return replace(reference_resnet50(), model="mobilenet_v2", unfreeze=2)


def scaled_mobilenet_v2() -> TrainConfig:
    """`reference-mobilenet-v2` without the double scaling and nothing else changed."""
    return replace(reference_mobilenet_v2(), preprocessing="published")


def corrected_mobilenet_v2() -> TrainConfig:
    """MobileNetV2 with the corrections of `corrected-resnet50`."""
    return replace(corrected_resnet50(), model="mobilenet_v2", unfreeze=2)


def reference_attention() -> TrainConfig:
    """The channel attention CNN: 160 px, 15 epochs, Adam from 1e-3 falling exponentially.

    The study does not give the rate of the fall; 0.9 an epoch is taken here.
    """
    return TrainConfig(model="attention_cnn", split="random", input_size=160, epochs=15, lr_decay=0.9)


def corrected_attention() -> TrainConfig:
    """The same network with mirrored images, without spatial dropout, at 96 px.

    The film faces' median side is 75 px. With the study's dropout the network underfits in 8 such epochs.
    """
    config = replace(reference_attention(), split="identity", input_size=96, lr_decay=0.8, flip=True)
    return replace(config, options={"dropouts": [0.0, 0.0, 0.0, 0.0]})


def reference_lstm() -> TrainConfig:
    """The notebook's recurrent variant: the CNN's last map read as a sequence; kept for comparison only."""
    return replace(reference_cnn(), model="cnn_lstm")


RECIPES: dict[str, Recipe] = {
    "reference-cnn": reference_cnn,
    "corrected-cnn": corrected_cnn,
    "reference-resnet50": reference_resnet50,
    "scaled-resnet50": scaled_resnet50,
    "corrected-resnet50": corrected_resnet50,
    "reference-mobilenet-v2": reference_mobilenet_v2,
    "scaled-mobilenet-v2": scaled_mobilenet_v2,
    "corrected-mobilenet-v2": corrected_mobilenet_v2,
    "reference-attention": reference_attention,
    "corrected-attention": corrected_attention,
    "reference-lstm": reference_lstm,
}

COLUMNS = (YEARS, "gender", "expression", "pose")  # of the reference study's data set
HEAD_WEIGHT = 0.3


def create_recipe(name: str) -> TrainConfig:
    """The settings of any recipe by name, the product's included, of a json file or of a run folder.

    `NAME+PART` changes a recipe by a part: another head of the age groups (`+coral`), or a further head for
    a column (`+gender`, `+years`) with the weight 0.3; `+alone` drops the recipe's further heads, `+frozen`
    its fine-tuning. Raises ConfigError, which names what there is.
    """
    base, *parts = [name] if name.endswith(".json") else name.split("+")
    config = create_product_recipe(base, {**PRODUCT_RECIPES, **RECIPES})
    for part in parts:
        config = _apply(config, part)
    return config


def _apply(config: TrainConfig, part: str) -> TrainConfig:
    if part in AGE_GROUP_HEADS:
        return replace(config, head=part)
    if part in COLUMNS:
        return replace(config, extra_heads={**config.extra_heads, part: HEAD_WEIGHT})
    if part == "frozen":
        return replace(config, epochs=0)
    if part == "alone":
        return replace(config, extra_heads={})
    raise ConfigError(
        f"A recipe has no part '+{part}'.",
        hint=f"Allowed: {', '.join((*AGE_GROUP_HEADS, *COLUMNS, 'alone', 'frozen'))}. "
        "For another column give --extra-head COLUMN=WEIGHT.",
    )
