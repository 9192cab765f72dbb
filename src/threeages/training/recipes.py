"""Named full configurations; measured scores stand in results/."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from threeages.errors import ConfigError
from threeages.training.config import CHOICES, TrainConfig


def reference_cnn() -> TrainConfig:
    """The reference study's four-block CNN: 128 px, Adam at 1e-3, batch 32, 10 epochs.

    Command: `threeages train MANIFEST --recipe reference-cnn --split random`. The study published 0.770 on
    its random 80/20 split. Cost: 160,000 training images; about 45 minutes on 2 cores without AVX-512.
    """
    return TrainConfig()


def corrected_cnn() -> TrainConfig:
    """The same network with mirrored images, a falling learning rate and an early stop."""
    return TrainConfig(epochs=20, lr_decay=0.9, flip=True, patience=4)


def reference_resnet50() -> TrainConfig:
    """ResNet50 frozen for 10 epochs at 1e-4, then its last block (Keras' last 10 layers) for 10 at 1e-5.

    With the study's double scaling, a mistake: pixels are divided by 255 and then preprocessed as if they
    were not. The study published 0.667. Cost: one pass over the images, then the last block's epochs.
    """
    return TrainConfig(
        model="resnet50", head_epochs=10, head_lr=1e-4, epochs=10, lr=1e-5, unfreeze=1, double_scaling=True
    )


def scaled_resnet50() -> TrainConfig:
    """`reference-resnet50` without the double scaling and nothing else changed: what the mistake cost."""
    return replace(reference_resnet50(), double_scaling=False)


def corrected_resnet50() -> TrainConfig:
    """Right preprocessing, learning rates that fit the phases (1e-3, then 1e-4 falling) and an early stop."""
    return replace(scaled_resnet50(), head_lr=1e-3, lr=1e-4, lr_decay=0.8, patience=3)


def reference_mobilenet_v2() -> TrainConfig:
    """MobileNetV2 as `reference-resnet50`; the study published 0.647.

    Its last two blocks train in the second phase. Keras' last 10 layers are these but for the 1x1 expansion
    at their entry, which here trains too. The weights are torchvision's, with their own preprocessing.
    """
    return replace(reference_resnet50(), model="mobilenet_v2", unfreeze=2)


def scaled_mobilenet_v2() -> TrainConfig:
    """`reference-mobilenet-v2` without the double scaling and nothing else changed."""
    return replace(reference_mobilenet_v2(), double_scaling=False)


def corrected_mobilenet_v2() -> TrainConfig:
    """MobileNetV2 with the corrections of `corrected-resnet50`."""
    return replace(corrected_resnet50(), model="mobilenet_v2", unfreeze=2)


def reference_attention() -> TrainConfig:
    """The channel attention CNN: 160 px, 15 epochs, Adam from 1e-3 falling exponentially.

    The study published 0.678. It does not give the rate of the fall; 0.9 an epoch is taken here.
    """
    return TrainConfig(model="attention_cnn", input_size=160, epochs=15, lr_decay=0.9)


def corrected_attention() -> TrainConfig:
    """The same network with mirrored images, without spatial dropout, at 96 px.

    The film faces' median side is 75 px. With the study's dropout the network had learnt too little after 8
    such epochs: 0.65 of its training images.
    """
    config = replace(reference_attention(), input_size=96, lr_decay=0.8, flip=True)
    return replace(config, options={"dropouts": [0.0, 0.0, 0.0, 0.0]})


def reference_lstm() -> TrainConfig:
    """The notebook's recurrent variant: the CNN's last map read as a sequence; kept for comparison only."""
    return replace(reference_cnn(), model="cnn_lstm")


def frozen_features() -> TrainConfig:
    """A small head on frozen features of faces, for age groups and years together.

    Only the neck and the heads learn; three of five features are dropped, so that no person is learnt by
    heart. Data are those of `default`, the weights the network's as published. Cost: one pass over the
    images (about 4 minutes on 2 cores), then 25 seconds a fold.
    """
    return TrainConfig(
        model="mobilenet_v1_face",
        input_size=160,
        options={"hidden": 256, "dropout": 0.6},
        tasks={"years": 0.5},
        head_epochs=6,
        head_lr=1e-3,
        epochs=0,
        lr_decay=0.6,
        batch_size=96,
        split="identity",
        keep_last=True,  # ten people choose among six epochs little better than chance
        calibrate=True,
    )


def clip_features() -> TrainConfig:
    """A small head on frozen features of CLIP's image tower, of whole images: the champion's other half.

    Command: `threeages train MANIFEST --recipe clip-features --weights FILE` with the weights as
    transformers names them (tools/clip_weights.py makes such a file of a package's copy). At 160 px a face
    takes half of what it takes at 224. Cost: 40 minutes for 39,000 images on 2 cores with AVX-512 BF16, then
    25 seconds a fold.
    """
    return replace(frozen_features(), model="clip_vit_b16")


def default() -> TrainConfig:
    """The model that ships: the later half of the network of faces trained on, with its heads.

    Command: `threeages train MANIFEST --recipe default --weights FILE --teacher TOWER`, where the manifest
    joins faces of known people and faces of known years, TOWER is CLIP's, and FILE is what `threeages adapt
    --teacher TOWER` makes of the network of faces from the same rows. Neck and heads learn first, on four
    views of every face (data.views); then the blocks behind the stride of 16 learn with them, slowly, and the
    moving average of the weights is kept; the tower's lesson goes on all the while. Faces are cut more
    closely than the network was published for, so that 128 pixels show one as 166 would. What size, cut and
    weights bring stands in results/experiments.csv. Cost: 10 minutes a fold on 2 cores with AVX-512 BF16,
    half of them for what is frozen, 11 GB on disk; with `--no-prefix-cache` on a GPU 2 minutes.
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
        views=4,
        average=0.99,
        max_cache_gb=17,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
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
    "frozen-features": frozen_features,
    "clip-features": clip_features,
    "default": default,
}

TASK_WEIGHT = 0.3
TEACHER_WEIGHT = 0.5  # of `--teacher`; at 1.5 film faces of one fold were answered as well


def create_recipe(name: str) -> TrainConfig:
    """The configuration of a recipe by name, or in a json file; raises ConfigError with what is allowed.

    `NAME+PART` changes it by a part: another head of the age groups (`+coral`), or a further head for a
    column of the manifest (`+gender`, `+years`) with the weight 0.3; `+alone` leaves the recipe's further
    heads out, `+frozen` fine-tuning.
    """
    if name.endswith(".json"):
        return _read_recipe(Path(name))
    base, *parts = name.split("+")
    if base not in RECIPES:
        raise ConfigError(f"There is no recipe '{base}'.", hint=f"Allowed: {', '.join(RECIPES)}.")
    config = RECIPES[base]()
    for part in parts:
        if part in CHOICES["head"]:
            config = replace(config, head=part)
        elif part == "frozen":
            config = replace(config, epochs=0)
        elif part == "alone":
            config = replace(config, tasks={})
        else:
            config = replace(config, tasks={**config.tasks, part: TASK_WEIGHT})
    return config


def _read_recipe(path: Path) -> TrainConfig:
    try:
        return TrainConfig(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"Cannot read the recipe {path}: {error}.", hint="Give a best.json of threeages tune."
        ) from error
