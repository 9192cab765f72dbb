"""The product's recipes by name; what they reach stands in results/.

The reference study's recipes, and the language of their parts, are studies.recipes.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from threeages.errors import ConfigError, describe_cause
from threeages.training.config import TrainConfig

CONFIG_FILE = "config.json"  # of a run folder


def frozen_features() -> TrainConfig:
    """A small head on frozen features of faces, for age groups and years together.

    Command: `threeages train MANIFEST --recipe frozen-features`. Only the neck and the heads learn; three of
    five features are dropped, so that no identity is learned by heart. Cost: one pass over the images (about
    4 minutes for 39,000 on 2 cores), then 25 seconds a fold.
    """
    return TrainConfig(
        model="mobilenet_v1_face",
        input_size=160,
        options={"hidden": 256, "dropout": 0.6},
        extra_heads={"years": 0.5},
        head_epochs=6,
        head_lr=1e-3,
        epochs=0,
        lr_decay=0.6,
        batch_size=96,
        keep_last=True,  # ten identities choose among six epochs little better than chance
        calibrate=True,
    )


def clip_features() -> TrainConfig:
    """A small head on frozen features of CLIP's image encoder (ViT-B/16), of whole images.

    Command: `threeages train MANIFEST --recipe clip-features --weights FILE` with the weights as
    transformers names them (tools/clip_weights.py makes such a file of a package's copy). At 160 px a face
    takes half of the time that it takes at 224. Cost: 40 minutes for 39,000 images on 2 cores with AVX-512
    BF16, then 25 seconds a fold.
    """
    return replace(frozen_features(), model="clip_vit_b16")


def large() -> TrainConfig:
    """The head of the large model, on CLIP's image encoder: `clip-features` of aligned faces of many sources.

    Command: `threeages train MANIFEST --recipe large --weights FILE`. Sources are drawn
    evenly, and the logits adjusted, as in `default`. Cost: that of `clip-features`.
    """
    return replace(clip_features(), alignment=0.85, balance="source", logit_adjustment=0.3)


def default() -> TrainConfig:
    """A small head on frozen features of faces of many sources: how the model that ships is trained.

    Command: `threeages train MANIFEST`, which starts from the network of faces in the package. Beside
    `frozen-features` it takes 192 pixels of a closer crop, three copies of every face (as in use, the whole
    image, and augmented as photos are; data.augment), draws sources evenly, and adjusts the
    logits by the priors of each source. Nothing but neck and heads learns: what is trained on faces of few
    sources fits those. Sizes, crops and heads are compared in results/experiments.csv. Cost: one pass over
    three copies of the images, then a minute or two a fold.
    """
    return replace(
        frozen_features(),
        input_size=192,
        alignment=1.0,
        augmented_copies=3,
        balance="source",
        logit_adjustment=0.35,
        max_cache_gb=17,
    )


def fine_tuned() -> TrainConfig:
    """The network of faces with its later half trained on, for age groups and years together.

    Command: `threeages train MANIFEST --recipe fine-tuned`. Neck and heads learn first, on four augmented
    copies of every face; then the stages behind the stride of 16 learn with them, slowly, and the moving
    average of the weights is kept. Faces are cropped more closely than the network was published for, so that
    128 pixels show one as 166 would. The epoch that is best on the validation identities is kept: on a few
    thousand faces that is one before the later stages train.

    The model that shipped until 0.1 added three things: `--weights FILE` of `threeages distill --teacher
    ENCODER` on the same rows, `--teacher ENCODER`, CLIP's image encoder, and `--keep-last`. Cost: 10 minutes
    a fold for 39,000 images on 2 cores with AVX-512 BF16, half of them for what is frozen, 11 GB on disk;
    with `--no-frozen-cache` on a GPU 2 minutes.
    """
    return replace(
        frozen_features(),
        input_size=128,
        alignment=1.1,
        options={"hidden": 256, "dropout": 0.5},
        head_epochs=8,
        epochs=3,
        lr=1e-4,
        neck_lr=1e-3,
        lr_decay=0.4,
        unfreeze=7,
        batch_size=128,
        augmented_copies=4,
        ema=0.99,
        keep_last=False,
        max_cache_gb=17,
    )


Recipe = Callable[[], TrainConfig]

RECIPES: dict[str, Recipe] = {
    "default": default,
    "frozen-features": frozen_features,
    "clip-features": clip_features,
    "large": large,
    "fine-tuned": fine_tuned,
}


def create_recipe(name: str, recipes: dict[str, Recipe] = RECIPES) -> TrainConfig:
    """The settings of a recipe by name, of a json file or of a run folder.

    Raises ConfigError, which names the recipes there are.
    """
    if name in recipes:
        return recipes[name]()
    if name.endswith(".json") or Path(name).is_dir():
        return read_config(Path(name))
    raise ConfigError(
        f"There is no recipe '{name}'.", hint=f"Allowed: {', '.join(recipes)}, a json file or a run folder."
    )


def read_config(path: Path) -> TrainConfig:
    """The settings in a json file, or in the config.json of a run folder; raises ConfigError."""
    path = path / CONFIG_FILE if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return TrainConfig.from_dict(content.get("config", content))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"Cannot read settings from {path}: {describe_cause(error)}.", hint=_choose_hint(path)
        ) from error


def _choose_hint(path: Path) -> str:
    """What to do where settings cannot be read."""
    if path.name == CONFIG_FILE and any(path.parent.glob("*.ckpt")):
        return "Run the threeages train command of that run again: it writes the file again from last.ckpt."
    return "Give a run folder of threeages train, its config.json or a best.json of threeages tune."
