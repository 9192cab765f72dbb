"""The settings of one training, checked all at once and saved with its weights."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from threeages.data.split import SplitMode
from threeages.errors import ConfigError

ALL = -1
CHOICES = {
    "split": ("random", "identity", "none"),
    "precision": ("auto", "32-true", "bf16-mixed"),
    "optimizer": ("adam", "rmsprop"),
    "head": ("softmax", "soft_ordinal", "coral", "corn"),
}


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs; all but the last `unfreeze` blocks are frozen (-1: none)."""

    name: Literal["train", "head", "finetune"]
    epochs: int
    lr: float
    neck_lr: float  # of neck and heads
    unfreeze: int


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training's result, besides the data."""

    model: str = "cnn"
    weights: str = ""  # '' the hub where the model has pretrained weights, a file, a folder, or 'random'
    input_size: int = 128
    alignment: float | None = None  # of faces to the template (Signature); None: the model's own
    double_scaling: bool = False  # the reference study's mistake: preprocess what is divided by 255 already
    options: dict[str, Any] = field(default_factory=dict)  # of the model: filters, kernels, dense
    head: str = "softmax"
    teacher: str = ""  # weights of CLIP's image tower, what the task `teacher` learns from
    tasks: dict[str, float] = field(default_factory=dict)  # further heads and their weight in the loss
    epochs: int = 10
    lr: float = 1e-3  # Keras' default for Adam, which the reference study uses
    unfreeze: int = ALL  # blocks trained in the main phase, counted from the end
    head_epochs: int = 0  # epochs before it in which only neck and heads train
    head_lr: float = 1e-4
    neck_lr: float = 0.0  # of neck and heads in the main phase; 0: lr
    lr_decay: float = 1.0  # factor an epoch, applied step by step
    optimizer: str = "adam"
    batch_size: int = 32
    patience: int = 0  # epochs without a better one after which a phase ends; 0: never
    flip: bool = False  # mirror images at random; rules out the prefix cache
    views: int = 1  # of each image, of which an epoch shows one: as in use, whole, drawn (data.views)
    average: float = 0.0  # decay of the moving average of the weights that is judged and kept; 0: none
    prefix_cache: bool = True  # compute what is frozen once
    max_cache_gb: float = 8.0
    split: SplitMode = "random"
    fold: int = 0
    folds: int = 5
    seed: int = 42
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    keep_last: bool = False  # the last epoch's model, not that of the best epoch on the select rows
    calibrate: bool = False  # fit the temperature on the select people, which needs split people
    temperature: float = 1.0  # of the answers where it is not fitted

    def __post_init__(self) -> None:
        if faults := [*self._choice_faults(), *self._faults()]:
            raise ConfigError("The settings cannot be used: " + "; ".join(faults) + ".", hint="Change them.")

    def phases(self) -> tuple[Phase, ...]:
        """The phases of the training, in order."""
        name: Literal["finetune", "train"] = "finetune" if self.head_epochs else "train"
        main = Phase(name, self.epochs, self.lr, self.neck_lr or self.lr, self.unfreeze)
        head = Phase("head", self.head_epochs, self.head_lr, self.head_lr, 0)
        return tuple(phase for phase in (head, main) if phase.epochs)

    def _choice_faults(self) -> list[str]:
        return [
            f"{name} is '{getattr(self, name)}', allowed are {', '.join(allowed)}"
            for name, allowed in CHOICES.items()
            if getattr(self, name) not in allowed
        ]

    def _faults(self) -> list[str]:
        least = {
            "input_size": 32,
            "batch_size": 1,
            "epochs": 0,
            "head_epochs": 0,
            "patience": 0,
            "folds": 3,
            "views": 1,
        }
        checks = {
            f"{name} is {getattr(self, name)}, at least {low} is needed": getattr(self, name) >= low
            for name, low in least.items()
        }
        checks |= {
            f"epochs is {self.epochs}, at least 1 is needed": self.epochs + self.head_epochs >= 1,
            f"lr is {self.lr} and head_lr {self.head_lr}, above 0 is needed": min(self.lr, self.head_lr) > 0,
            f"alignment is {self.alignment}, at least 0 is needed": (self.alignment or 0) >= 0,
            f"neck_lr is {self.neck_lr}, at least 0 is needed": self.neck_lr >= 0,
            f"lr_decay is {self.lr_decay}, above 0 and at most 1 is needed": 0 < self.lr_decay <= 1,
            f"unfreeze is {self.unfreeze}, allowed are -1 (all) or a number of blocks": self.unfreeze >= ALL,
            f"tasks have the weights {self.tasks}, above 0 is needed": all(
                w > 0 for w in self.tasks.values()
            ),
            "the task `teacher` and the setting teacher go together": bool(self.teacher)
            == ("teacher" in self.tasks),
            f"average is {self.average}, at least 0 and below 1 is needed": 0 <= self.average < 1,
            f"temperature is {self.temperature}, above 0 is needed": self.temperature > 0,
            f"fold is {self.fold}, allowed are 0 to {self.folds - 1}": 0 <= self.fold < self.folds,
        }
        return [fault for fault, fine in checks.items() if not fine]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for json and for the checkpoint."""
        return asdict(self)
