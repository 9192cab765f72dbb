"""The settings of a training and of a distillation: each one checked, and documented beside its value.

The command line makes its options of these fields (cli.settings), so this module imports nothing heavy.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

from threeages.data.augmentation import DEFAULT_AUGMENTATION, Augmentation
from threeages.errors import ConfigError
from threeages.models.kinds import AGE_GROUP_HEADS

MODEL, SPLIT, AUGMENTATION, DISTILLATION = "Model", "Split", "Augmentation", "Distillation"
SCHEDULE, OPTIMIZER, RESULT, HARDWARE = "Epochs", "Optimization", "What is kept", "Cache and precision"

BALANCED = ("source", "group", "identity")  # what train rows can be drawn evenly over
LOGIT_HEADS = ("softmax", "soft_ordinal")  # with a logit for each class
NUMBERS = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Setting:
    """What is said of a field: its help, its section there, its bounds, and the word that stands for None.

    `choices` are those of a str; a Literal has its own. `at_least` and `at_most` are allowed, `above` and
    `below` are not. `option` is False for what only a recipe or a json file sets, `fixed` for what may be
    another when a training resumes.
    """

    help: str
    section: str = ""
    none: str = "none"
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    option: bool = True
    fixed: bool = True

    def find_problem(self, name: str, value: Any) -> str | None:
        """What is wrong with a number, in words; None where nothing is."""
        if not math.isfinite(value):
            return f"{name} is {value}, a finite number is needed"
        if self.at_least is not None and value < self.at_least:
            return f"{name} is {value}, at least {self.at_least:g} is needed"
        if self.above is not None and value <= self.above:
            return f"{name} is {value}, above {self.above:g} is needed"
        if self.at_most is not None and value > self.at_most:
            return f"{name} is {value}, at most {self.at_most:g} is needed"
        if self.below is not None and value >= self.below:
            return f"{name} is {value}, below {self.below:g} is needed"
        return None


@dataclass(frozen=True)
class Phase:
    """Some epochs in which the last `unfreeze` stages of the backbone train; None: all of them."""

    name: Literal["train", "head", "finetune"]
    epochs: int
    lr: float
    neck_lr: float  # of neck and heads
    unfreeze: int | None


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training's result, besides the data."""

    # the network, how its input is prepared, and its heads
    model: Annotated[str, Setting("Network, or timm/NAME.", MODEL)] = "cnn"
    weights: Annotated[
        str | None, Setting("Pretrained FILE or FOLDER, or 'random'.", MODEL, none="published")
    ] = None
    input_size: Annotated[int, Setting("Pixels on a side of its input.", MODEL, at_least=32)] = 128
    alignment: Annotated[
        float | None, Setting("How closely faces are cropped.", MODEL, none="own", at_least=0)
    ] = None
    preprocessing: Annotated[
        Literal["published", "scaled_twice"],
        Setting("The second is the reference study's error: /255, then the published one.", option=False),
    ] = "published"
    options: Annotated[
        dict[str, Any], Setting("Arguments of the network, such as hidden and dropout.", option=False)
    ] = field(default_factory=dict)
    head: Annotated[str, Setting("", MODEL, choices=AGE_GROUP_HEADS)] = "softmax"
    extra_heads: Annotated[dict[str, float], Setting("Further head: 'years' or COLUMN=WEIGHT.", MODEL)] = (
        field(default_factory=dict)
    )

    # which rows train, and how their images are augmented
    split: Annotated[Literal["random", "identity", "source", "none"], Setting("", SPLIT)] = "identity"
    held_out: Annotated[str, Setting("Sources of the test rows: A,B.", SPLIT)] = ""
    train_sources: Annotated[str, Setting("Other sources used; default: all.", SPLIT)] = ""
    fold: Annotated[int, Setting("Fold of identities held out.", SPLIT, at_least=0)] = 0
    folds: Annotated[int, Setting("Number of folds.", SPLIT, at_least=2)] = 5
    balance: Annotated[str, Setting("Draw evenly over source,group,identity.", SPLIT)] = (
        ""  # rows weigh one over the root of how many share it (training.sampling)
    )
    flip: Annotated[bool, Setting("Mirror at random; needs pixels.", AUGMENTATION)] = (
        False  # rules out the frozen-feature cache
    )
    augmented_copies: Annotated[
        int, Setting("Copies of an image; 1: as it is.", AUGMENTATION, at_least=1)
    ] = 1  # the first as in use, the second the whole image, further ones augmented; an epoch shows one
    augmentation: Annotated[Augmentation, Setting("Its probabilities and ranges.", option=False)] = (
        DEFAULT_AUGMENTATION
    )

    # the epochs: a first phase for neck and heads, then the main one
    epochs: Annotated[int, Setting("Epochs of the main phase.", SCHEDULE, at_least=0)] = 10
    head_epochs: Annotated[int, Setting("Epochs before, backbone frozen.", SCHEDULE, at_least=0)] = 0
    unfreeze: Annotated[
        int | None, Setting("Last stages the main phase trains.", SCHEDULE, none="all", at_least=0)
    ] = None
    patience: Annotated[
        int | None, Setting("Epochs without gain that end a phase.", SCHEDULE, at_least=1)
    ] = None

    # the steps
    optimizer: Annotated[Literal["adam", "rmsprop"], Setting("", OPTIMIZER)] = "adam"
    lr: Annotated[float, Setting("Learning rate of the main phase.", OPTIMIZER, above=0)] = 1e-3
    neck_lr: Annotated[
        float | None, Setting("Of neck and heads; same: --lr.", OPTIMIZER, none="same", above=0)
    ] = None
    head_lr: Annotated[float, Setting("Learning rate of head epochs.", OPTIMIZER, above=0)] = 1e-4
    lr_decay: Annotated[float, Setting("Its factor after an epoch.", OPTIMIZER, above=0, at_most=1)] = 1.0
    batch_size: Annotated[int, Setting("Images in a step.", OPTIMIZER, at_least=1)] = 32
    seed: Annotated[
        int, Setting("Seed of weights, order and split.", OPTIMIZER, at_least=0, at_most=2**32 - 1)
    ] = 42

    # each source's own class priors, added to the logits in training alone (logit adjustment)
    logit_adjustment: Annotated[
        float, Setting("Share of a source's log priors.", OPTIMIZER, at_least=0, at_most=1)
    ] = 0.0

    # a teacher's features as further targets
    teacher: Annotated[str | None, Setting("Weights of CLIP's image encoder.", DISTILLATION)] = None
    teacher_weight: Annotated[float, Setting("Weight of its loss.", DISTILLATION, above=0)] = 0.5

    # which weights are kept, and their probabilities
    keep_last: Annotated[bool, Setting("The last epoch, not the best.", RESULT)] = False
    ema: Annotated[float | None, Setting("Decay of averaged weights.", RESULT, at_least=0, below=1)] = None
    calibrate: Annotated[bool, Setting("Fit the temperature.", RESULT)] = False
    temperature: Annotated[float, Setting("Used where none is fitted.", RESULT, above=0)] = 1.0

    # what decides about speed and disk space
    precision: Annotated[Literal["auto", "32-true", "bf16-mixed"], Setting("", HARDWARE)] = "auto"
    compile: Annotated[bool, Setting("By torch.compile.", HARDWARE, fixed=False)] = False
    frozen_cache: Annotated[bool, Setting("Keep outputs of frozen stages.", HARDWARE)] = True
    max_cache_gb: Annotated[float, Setting("Largest frozen-feature cache.", HARDWARE, above=0)] = 8.0

    def __post_init__(self) -> None:
        _raise_problems(find_wrong_types(self))
        problems = find_problems(self)
        if self.epochs + self.head_epochs == 0:
            problems.append("epochs is 0 and head_epochs too, at least 1 is needed")
        if not 0 <= self.fold < self.folds:
            problems.append(f"fold is {self.fold}, allowed are 0 to {self.folds - 1}")
        if wrong := [name for name in split_names(self.balance) if name not in BALANCED]:
            problems.append(f"balance names '{wrong[0]}', allowed are {', '.join(BALANCED)}")
        if self.logit_adjustment and self.head not in LOGIT_HEADS:
            problems.append(f"logit_adjustment needs the head {' or '.join(LOGIT_HEADS)}, not {self.head}")
        weights = self.extra_heads.values()
        if not all(isinstance(w, int | float) and 0 < w < math.inf for w in weights):
            problems.append(f"extra_heads have the weights {self.extra_heads}, above 0 is needed")
        _raise_problems(problems)

    def split_options(self) -> dict[str, Any]:
        """The arguments by name of data.split.create_split, beside manifest and images."""
        options = {"mode": self.split, "fold": self.fold, "folds": self.folds, "seed": self.seed}
        names = {"held_out": self.held_out, "train_sources": self.train_sources}
        return options | {name: split_names(text) for name, text in names.items()}

    def phases(self) -> tuple[Phase, ...]:
        """The phases of the training, in order."""
        name: Literal["finetune", "train"] = "finetune" if self.head_epochs else "train"
        neck_lr = self.lr if self.neck_lr is None else self.neck_lr
        main = Phase(name, self.epochs, self.lr, neck_lr, self.unfreeze)
        head = Phase("head", self.head_epochs, self.head_lr, self.head_lr, 0)
        return tuple(phase for phase in (head, main) if phase.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for json and for the checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`, after json too; what is absent has its default.

        Raises ConfigError on a name that is no setting.
        """
        config: Self = _from_dict(cls, values)
        return config


@dataclass(frozen=True)
class DistillConfig:
    """The settings of a distillation, beside the network, the split and the batches of a TrainConfig."""

    epochs: Annotated[int, Setting("Epochs.", DISTILLATION, at_least=1)] = 4
    teacher: Annotated[str | None, Setting("CLIP's image encoder, second teacher.", DISTILLATION)] = None
    lr: Annotated[float, Setting("Learning rate, for batches of 64.", DISTILLATION, above=0)] = 4e-4
    projection_lr: Annotated[float, Setting("Learning rate of the projections.", DISTILLATION, above=0)] = (
        1e-3
    )
    warm_up: Annotated[
        float, Setting("Share of steps in which they rise.", DISTILLATION, above=0, below=1)
    ] = 0.05

    def __post_init__(self) -> None:
        _raise_problems(find_wrong_types(self) or find_problems(self))


def read_settings(config: type) -> dict[str, tuple[Any, Setting]]:
    """Type and description of every documented field of a class of settings, in order."""
    hints = get_type_hints(config, include_extras=True)
    return {f.name: get_args(hints[f.name])[:2] for f in fields(config)}


def select_fixed(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name of settings, without those that may be others when a training resumes."""
    free = {name for name, (_, setting) in read_settings(config).items() if not setting.fixed}
    return {name: value for name, value in values.items() if name not in free}


def find_choices(kind: Any, setting: Setting) -> tuple[str, ...]:
    """The values that a field of this type and description may have; empty where they are not listed."""
    return get_args(kind) if get_origin(kind) is Literal else setting.choices


def find_problems(config: Any) -> list[str]:
    """Every field whose value is not among its choices or outside its bounds, in words."""
    return list(_find_problems(config))


def _find_problems(config: Any) -> Iterator[str]:
    for name, (kind, setting) in read_settings(type(config)).items():
        value = getattr(config, name)
        choices = find_choices(kind, setting)
        if choices and value not in choices:
            yield f"{name} is '{value}', allowed are {', '.join(choices)}"
        if isinstance(value, int | float) and (problem := setting.find_problem(name, value)):
            yield problem


def find_wrong_types(config: Any) -> list[str]:
    """Every field of a number whose value is none, as a json file may have it, in words."""
    fields = read_settings(type(config)).items()
    found = [(name, getattr(config, name), kind) for name, (kind, _) in fields]
    return [
        f"{name} is {value!r}, {word} is needed"
        for name, value, kind in found
        if (word := _find_wrong_type(kind, value))
    ]


def _find_wrong_type(kind: Any, value: Any) -> str | None:
    """The kind of number that a field needs where the value is none; else None."""
    kinds = set(get_args(kind) or (kind,))
    number = next((k for k in (bool, int, float) if k in kinds), None)
    if number is None or get_origin(kind) is dict or (value is None and NoneType in kinds):
        return None
    fits = isinstance(value, number) or (number is float and isinstance(value, int))
    return None if fits and (number is bool or not isinstance(value, bool)) else NUMBERS[number]


def split_names(text: str) -> tuple[str, ...]:
    """The names in a text such as 'lfw, utkface'."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _raise_problems(problems: list[str]) -> None:
    if problems:
        raise ConfigError("The settings cannot be used: " + "; ".join(problems) + ".", hint="Change them.")


def _from_dict(config: Any, values: Mapping[str, Any]) -> Any:
    """An instance of a dataclass, its nested dataclasses and tuples included."""
    known = {f.name: f.default for f in fields(config)}
    if unknown := [name for name in values if name not in known]:
        raise ConfigError(
            f"There is no setting {', '.join(map(repr, unknown))}.", hint=f"Allowed: {', '.join(known)}."
        )
    found = {}
    for name, value in values.items():
        default = known[name]
        if is_dataclass(default) and isinstance(value, Mapping):
            value = _from_dict(type(default), value)
        found[name] = tuple(value) if isinstance(value, list) and isinstance(default, tuple) else value
    return config(**found)
